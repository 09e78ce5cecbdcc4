"""The express lane between a coordinator and a worker: who gets in, what it falls back to, how it ends."""

import logging
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cluster_processes import start_worker
from scripted_workers import HIDDEN, NETWORK, ScriptedWorker, ask, lane_to, scripted_worker

from jangtq_coordinator.children import Children
from jangtq_coordinator.cli import cluster_settings
from jangtq_coordinator.cli import parser as coordinator_parser
from jangtq_coordinator.express_door import Door, ExpressSettings, enter
from jangtq_coordinator.express_lane import ExpressLane
from jangtq_coordinator.grpc_lane import GrpcLane, LaneSettings
from jangtq_coordinator.settings import Transport
from jangtq_proto.addresses import Address, parse_address
from jangtq_proto.codec import CallShape, RowType
from jangtq_proto.errors import ConfigurationError, WorkerBusyError, WorkerUnreachableError
from jangtq_proto.frame_socket import FrameSocket
from jangtq_proto.frames import LENGTH, greeting, read_answer
from jangtq_proto.local_sockets import SocketFolder
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_worker.cli import settings_from
from jangtq_worker.desk import Desk
from jangtq_worker.express import ExpressListener
from jangtq_worker.express import ExpressSettings as ListenerSettings
from jangtq_worker.shard import Shard
from jangtq_worker.tickets import LIFETIME_SECONDS, Tickets

TCP, UNIX = NETWORK[2], NETWORK[3]
LIMIT = 1 << 20


@pytest.fixture
def worker(small_bundle: Path) -> Iterator[ScriptedWorker]:
    with scripted_worker(small_bundle) as running:
        yield running


@pytest.fixture
def desk() -> Desk:
    desk = Desk(CallShape(1, HIDDEN), max_streams=2)
    desk.serve(Shard(()))
    return desk


@pytest.fixture
def listener(desk: Desk, tmp_path: Path) -> Iterator[ExpressListener]:
    settings = ListenerSettings(Address("127.0.0.1", 7700), SocketFolder(tmp_path / "sockets"))
    listener = ExpressListener(desk, settings)
    yield listener
    listener.close()


def door_of(reply: pb.OpenExpressReply, *, unix: bool = False) -> Door:
    return Door("127.0.0.1", reply.port, Path(reply.local_socket.path) if unix else None)


def connect(reply: pb.OpenExpressReply) -> FrameSocket:
    frames = FrameSocket(socket.create_connection(("127.0.0.1", reply.port)))
    frames.set_timeout(30)
    return frames


def test_a_ticket_is_good_once_and_for_seconds() -> None:
    now = [100.0]
    tickets = Tickets(clock=lambda: now[0])
    first, second = tickets.issue(), tickets.issue()
    assert first != second and len(first) == 32
    assert tickets.redeem(first)
    assert not tickets.redeem(first)
    assert not tickets.redeem(bytes(32))
    now[0] += LIFETIME_SECONDS
    assert not tickets.redeem(second)


def test_tickets_that_nobody_uses_do_not_pile_up() -> None:
    now = [0.0]
    tickets = Tickets(clock=lambda: now[0])
    with pytest.raises(WorkerBusyError, match="256 tickets"):
        while True:
            tickets.issue()
    now[0] += LIFETIME_SECONDS
    assert tickets.redeem(tickets.issue())


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
        frames.send((LENGTH.pack(3), b"abc"))
        frame = frames.receive(LIMIT)
        assert frame is not None
        answer = read_answer(frame)
        assert (answer.status, bytes(answer.payload)) == (3, b"a call has at least 40 bytes, not 7")
    frames.close()


def test_a_call_above_the_limit_is_answered_and_ends_the_connection(listener: ExpressListener) -> None:
    reply = listener.admit()
    frames = enter(door_of(reply), reply.ticket, ExpressSettings())
    frames.send((LENGTH.pack(2**31), b""))
    frame = frames.receive(LIMIT)
    assert frame is not None
    assert read_answer(frame).status == 8
    assert frames.receive(LIMIT) is None
    frames.close()


def test_streams_are_counted_with_those_of_grpc(listener: ExpressListener, desk: Desk) -> None:
    with desk.streams, desk.streams:
        reply = listener.admit()
        with pytest.raises(WorkerBusyError, match="already serves 2 streams"):
            enter(door_of(reply), reply.ticket, ExpressSettings())


def test_a_listener_that_closes_ends_its_connections_and_its_socket_file(listener: ExpressListener) -> None:
    reply = listener.admit()
    frames = enter(door_of(reply), reply.ticket, ExpressSettings())
    listener.close()
    assert frames.receive(LIMIT) is None
    frames.close()
    assert not Path(reply.local_socket.path).exists()
    with pytest.raises(WorkerUnreachableError, match="stopping"):
        listener.admit()


def test_it_runs_inside_tls_where_it_is_told_to(desk: Desk, tmp_path: Path) -> None:
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client_tls)
    settings = ListenerSettings(Address("127.0.0.1", 7700), SocketFolder(tmp_path / "s"), tls=server_tls)
    listener = ExpressListener(desk, settings)
    for unix in (False, True):
        for poll_us in (0, 500):
            reply = listener.admit()
            inside = ExpressSettings(poll_us=poll_us, tls=client_tls)
            frames = enter(door_of(reply, unix=unix), reply.ticket, inside)
            body = bytes(300_000)
            frames.send((LENGTH.pack(len(body)), body))
            frame = frames.receive(LIMIT)
            assert frame is not None and read_answer(frame).status == 3
            frames.close()
    with pytest.raises(OSError):
        enter(door_of(listener.admit()), bytes(32), ExpressSettings())
    with pytest.raises(ssl.SSLCertVerificationError):
        strangers = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        enter(door_of(listener.admit()), bytes(32), ExpressSettings(tls=strangers))
    listener.close()


def test_a_broken_lane_is_replaced_by_grpc_and_tried_again_later(
    worker: ScriptedWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="jangtq.cluster")
    for retry_seconds, lanes_opened in ((3600, 1), (0, 2)):
        caplog.clear()
        with lane_to(worker, TCP, express=ExpressSettings(retry_seconds=retry_seconds)) as lane:
            assert isinstance(lane, ExpressLane)
            ask(lane)
            worker.stop()
            with pytest.raises(WorkerUnreachableError):
                ask(lane)
            worker.start()
            assert ask(lane).shape == ask(lane).shape == (2, HIDDEN)
        assert sum("express lane over TCP" in message for message in caplog.messages) == lanes_opened


def test_a_worker_that_lets_nobody_in_is_asked_over_grpc(
    worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A firewall, for example: the ticket is had, but nobody answers at the port."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with lane_to(worker, TCP) as lane:
        reply = pb.OpenExpressReply(ticket=bytes(32), port=port)
        monkeypatch.setattr(GrpcLane, "open_express", lambda lane: reply)
        assert ask(lane).shape == (2, HIDDEN)
    assert f"worker {worker.address}: no express lane, using gRPC" in " ".join(caplog.messages)


def test_a_unix_socket_that_does_not_answer_is_replaced_by_tcp(
    worker: ScriptedWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="jangtq.cluster")
    for way in (NETWORK[1], UNIX):
        with lane_to(worker, way) as lane:
            ask(lane)
            for file in SocketFolder().path.glob(f"*-{worker.address.port}-*"):
                file.unlink()
            lane.abandon()
            caplog.clear()
            assert ask(lane).shape == (2, HIDDEN)
        assert "using TCP" in " ".join(caplog.messages)


def test_polling_finds_the_same_answers(small_bundle: Path) -> None:
    with Children() as children:
        process = start_worker(children, small_bundle, "0-31", options=["--poll-us", "300"])
        process.ready()
        settings = LaneSettings(HIDDEN, RowType.FLOAT32, 10, 30)
        control = GrpcLane(parse_address(process.listening()), settings)
        control.expect(control.describe())
        lane = ExpressLane(control, settings, ExpressSettings(poll_us=300))
        assert ask(lane).tolist() == ask(lane).tolist()
        lane.close()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_no_socket_is_left_or_in_the_way(small_bundle: Path, end: signal.Signals) -> None:
    with Children() as children:
        first = start_worker(children, small_bundle, "0-31")
        first.ready()
        address = parse_address(first.listening())
        settings = LaneSettings(HIDDEN, RowType.FLOAT32, 10, 30)
        control = GrpcLane(address, settings)
        control.expect(control.describe())
        lane = ExpressLane(control, settings, ExpressSettings(retry_seconds=0))
        ask(lane)
        os.kill(first.process.pid, end)
        first.process.wait(30)
        left = list(SocketFolder().path.glob(f"*-{address.port}-*"))
        assert len(left) == (2 if end is signal.SIGKILL else 0)
        with pytest.raises(WorkerUnreachableError):
            ask(lane)
        start_worker(children, small_bundle, "0-31", listen=str(address)).ready()
        assert ask(lane).shape == (2, HIDDEN)
        lane.close()
    assert not list(SocketFolder().path.glob(f"*-{address.port}-*"))


def test_the_command_lines_know_the_lane(tmp_path: Path) -> None:
    line = ["generate", "--model", str(tmp_path), "--workers", "a", "--prompt", "hi"]
    settings = cluster_settings(coordinator_parser().parse_args(line))
    assert (settings.transport, settings.poll_us, settings.unix_sockets) == (Transport.GRPC, 0, True)
    line += ["--transport", "express", "--poll-us", "40", "--no-unix-sockets"]
    settings = cluster_settings(coordinator_parser().parse_args(line))
    assert (settings.transport, settings.poll_us, settings.unix_sockets) == (Transport.EXPRESS, 40, False)
    worker = ["--model", str(tmp_path), "--experts", "0", "--poll-us"]
    assert settings_from([*worker, "7"]).poll_us == 7
    with pytest.raises(ConfigurationError, match="--poll-us -1: allowed are 0 to 100000 microseconds"):
        settings_from([*worker, "-1"])
