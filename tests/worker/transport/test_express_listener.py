"""Who gets in to a worker's express port, plain and inside TLS, and what is said there that is no call."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from jangtq_coordinator.transport.express_handshake import ExpressEndpoint, ExpressSettings, enter
from jangtq_proto.addresses import Address
from jangtq_proto.errors import ConfigurationError, WorkerBusyError, WorkerUnreachableError
from jangtq_proto.sockets.local_sockets import SocketFolder
from jangtq_proto.tls.certificates import Role
from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.codec import CallShape
from jangtq_proto.wire.frames import LENGTH, greeting, read_answer
from jangtq_worker.device.admission import Admission
from jangtq_worker.device.shard import Shard
from jangtq_worker.transport.express_listener import ExpressListener
from jangtq_worker.transport.express_listener import ExpressSettings as ListenerSettings
from tests.support.tls_folders import make_folders

HIDDEN = 64
LIMIT = 1 << 20


@pytest.fixture
def admission(request: pytest.FixtureRequest) -> Admission:
    """Of more streams than a test opens, unless it says how many: slots are freed a little after the end."""
    admission = Admission(CallShape(1, HIDDEN), max_streams=getattr(request, "param", 16))
    admission.serve(Shard(()))
    return admission


@pytest.fixture
def listener(admission: Admission, tmp_path: Path) -> Iterator[ExpressListener]:
    settings = ListenerSettings(Address("127.0.0.1", 7700), SocketFolder(tmp_path / "sockets"))
    listener = ExpressListener(admission, settings)
    yield listener
    listener.close()


def door_of(reply: pb.OpenExpressReply, *, unix: bool = False) -> ExpressEndpoint:
    return ExpressEndpoint("127.0.0.1", reply.port, Path(reply.local_socket.path) if unix else None)


@pytest.mark.parametrize("unix", [False, True])
def test_one_ticket_opens_one_connection(listener: ExpressListener, unix: bool) -> None:
    reply = listener.admit()
    frames = enter(door_of(reply, unix=unix), reply.ticket, ExpressSettings())
    with pytest.raises(ConnectionError):
        enter(door_of(reply, unix=unix), reply.ticket, ExpressSettings())
    frames.close()


@pytest.mark.parametrize(
    "words", [greeting(bytes(32)), LENGTH.pack(40) + bytes(40), LENGTH.pack(2**31), b"GET / HTTP/1.1\r\n\r\n"]
)
def test_whoever_has_no_ticket_hears_nothing(listener: ExpressListener, words: bytes) -> None:
    with socket.create_connection(("127.0.0.1", listener.admit().port), timeout=30) as stranger:
        stranger.sendall(words)
        try:
            assert stranger.recv(100) == b""
        except ConnectionResetError:
            pass  # the same, when some of the words were not read


def test_a_malformed_call_is_answered_and_the_connection_goes_on(listener: ExpressListener) -> None:
    reply = listener.admit()
    frames = enter(door_of(reply), reply.ticket, ExpressSettings())
    for _ in range(2):
        frames.send(LENGTH.pack(3) + b"abc")
        frame = frames.receive(LIMIT)
        assert frame is not None
        answer = read_answer(frame)
        assert (answer.status, bytes(answer.payload)) == (3, b"a call has at least 48 bytes, not 7")
    frames.close()


def test_a_call_above_the_limit_is_answered_and_ends_the_connection(listener: ExpressListener) -> None:
    reply = listener.admit()
    frames = enter(door_of(reply), reply.ticket, ExpressSettings())
    frames.send(LENGTH.pack(2**31))
    frame = frames.receive(LIMIT)
    assert frame is not None
    assert read_answer(frame).status == 8
    assert frames.receive(LIMIT) is None
    frames.close()


@pytest.mark.parametrize("admission", [2], indirect=True)
def test_streams_are_counted_with_those_of_grpc(listener: ExpressListener, admission: Admission) -> None:
    with admission.streams, admission.streams:
        reply = listener.admit()
        with pytest.raises(WorkerBusyError, match="already serves 2 streams"):
            enter(door_of(reply), reply.ticket, ExpressSettings())


def test_a_port_that_was_chosen_is_open_before_anybody_asks(admission: Admission, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = ListenerSettings(Address("127.0.0.1", 7700), SocketFolder(tmp_path / "s"), port=port)
        with pytest.raises(
            ConfigurationError, match=f"--express-port: cannot listen on 127.0.0.1:{port}: Address already"
        ):
            ExpressListener(admission, settings).open()
    listener = ExpressListener(admission, settings)
    listener.open()
    socket.create_connection(("127.0.0.1", port), timeout=30).close()
    reply = listener.admit()
    assert reply.port == port
    enter(door_of(reply), reply.ticket, ExpressSettings()).close()
    listener.close()


def test_a_listener_that_closes_ends_its_connections_and_its_socket_file(listener: ExpressListener) -> None:
    reply = listener.admit()
    frames = enter(door_of(reply), reply.ticket, ExpressSettings())
    listener.close()
    assert frames.receive(LIMIT) is None
    frames.close()
    assert not Path(reply.local_socket.path).exists()
    with pytest.raises(WorkerUnreachableError, match="stopping"):
        listener.admit()


def test_its_tcp_port_runs_inside_tls_with_certificates(admission: Admission, tmp_path: Path) -> None:
    folders = make_folders(tmp_path / "tls")
    settings = ListenerSettings(
        Address("127.0.0.1", 7700),
        SocketFolder(tmp_path / "s"),
        credentials=Credentials(folders.worker, Role.WORKER),
    )
    ours = Credentials(folders.coordinator, Role.COORDINATOR)
    listener = ExpressListener(admission, settings)
    for unix in (False, True):
        for poll_us in (0, 500):
            reply = listener.admit()
            inside = ExpressSettings(poll_us=poll_us, credentials=ours)
            frames = enter(door_of(reply, unix=unix), reply.ticket, inside)
            body = bytes(300_000)
            frames.send(LENGTH.pack(len(body)) + body)
            frame = frames.receive(LIMIT)
            assert frame is not None and read_answer(frame).status == 3
            frames.close()
    reply = listener.admit()
    with pytest.raises(OSError):
        enter(door_of(reply), reply.ticket, ExpressSettings())
    strangers = Credentials(make_folders(tmp_path / "other").coordinator, Role.COORDINATOR)
    with pytest.raises(ssl.SSLCertVerificationError):
        enter(door_of(reply), reply.ticket, ExpressSettings(credentials=strangers))
    enter(door_of(reply), reply.ticket, ExpressSettings(credentials=ours)).close()
    listener.close()
