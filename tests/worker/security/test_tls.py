"""Who gets in to a worker that runs with --tls, over gRPC and express, and whom a coordinator trusts."""

import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from jangtq_coordinator.pki.authority import PemPair
from jangtq_coordinator.transport.connection import ConnectionSettings
from jangtq_coordinator.transport.control_client import ControlClient
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_proto.addresses import Address
from jangtq_proto.errors import WorkerUnreachableError
from jangtq_proto.tls import certificates
from jangtq_proto.tls.credentials import CERTIFICATE_FILE, KEY_FILE, Credentials
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from tests.support.scripted_workers import (
    HIDDEN,
    NETWORK,
    ScriptedWorker,
    Way,
    ask,
    connection_to,
    scripted_worker,
    some_call,
)
from tests.support.tls_folders import (
    HERE,
    SECONDS,
    Folders,
    YearsLater,
    assert_nothing_is_said,
    client_credentials,
    expired,
    make_folders,
    pems_in,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Certificates that no test changes."""
    return make_folders(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The same of another authority."""
    return make_folders(tmp_path_factory.mktemp("others"))


@pytest.fixture(scope="module")
def worker(small_bundle: Path, folders: Folders) -> Iterator[ScriptedWorker]:
    with scripted_worker(small_bundle, tls=folders.worker) as running:
        yield running


def connection_settings(
    credentials: Credentials | None, *, connect_timeout_seconds: float = 3
) -> ConnectionSettings:
    return ConnectionSettings(HIDDEN, connect_timeout_seconds, SECONDS, credentials)


def why_not(address: Address, credentials: Credentials | None) -> str:
    """What a coordinator says of a worker that it cannot use, at the start and while it runs."""
    connection = GrpcConnection(address, connection_settings(credentials, connect_timeout_seconds=0.5))
    try:
        with pytest.raises(WorkerUnreachableError) as caught:
            connection.describe()
    finally:
        connection.close()
    with pytest.raises(WorkerUnreachableError) as later:
        ControlClient(HIDDEN, credentials).ask(address, timeout_seconds=SECONDS)
    assert str(later.value) == str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("way", NETWORK, ids=str)
def test_every_way_gives_the_same_answer_inside_tls(
    worker: ScriptedWorker, folders: Folders, way: Way, small_bundle: Path
) -> None:
    credentials = folders.coordinators_credentials()
    with scripted_worker(small_bundle) as plain, connection_to(plain, way) as connection:
        expected = ask(connection, some_call(rows=40))
    with connection_to(worker, way, credentials=credentials) as connection:
        np.testing.assert_array_equal(ask(connection, some_call(rows=40)), expected)


Show = Callable[[Folders, Folders], PemPair | None]
STRANGERS: dict[str, Show] = {
    "no certificate": lambda ours, others: None,
    "expired": lambda ours, others: expired(ours, ours.coordinator),
    "wrong authority": lambda ours, others: pems_in(others.coordinator),
    "another worker": lambda ours, others: pems_in(ours.worker),
}


@pytest.mark.parametrize("who", STRANGERS)
def test_a_stranger_learns_nothing_over_grpc(
    worker: ScriptedWorker, folders: Folders, others: Folders, who: str
) -> None:
    pems = STRANGERS[who](folders, others)
    with grpc.secure_channel(str(worker.address), client_credentials(folders.coordinator, pems)) as channel:
        assert_nothing_is_said(channel)


def test_a_plain_client_learns_nothing_on_a_tls_port(worker: ScriptedWorker) -> None:
    with grpc.insecure_channel(str(worker.address)) as channel:
        assert_nothing_is_said(channel)


def express_port(worker: ScriptedWorker, folders: Folders) -> tuple[int, bytes]:
    """Where its express transport listens, and a ticket."""
    with folders.coordinators_channel(worker.address) as channel:
        stub = expert_pb2_grpc.ExpertServiceStub(channel)
        reply = stub.OpenExpress(pb.OpenExpressRequest(), timeout=SECONDS)
    return reply.port, reply.ticket


@pytest.mark.parametrize("who", STRANGERS)
def test_a_stranger_learns_nothing_over_the_express_connection_even_with_a_ticket(
    worker: ScriptedWorker, folders: Folders, others: Folders, tmp_path: Path, who: str
) -> None:
    port, ticket = express_port(worker, folders)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folders.coordinator / "ca.pem")
    pems = STRANGERS[who](folders, others)
    if pems is not None:
        for name, content in ((CERTIFICATE_FILE, pems.certificate), (KEY_FILE, pems.key)):
            (tmp_path / name).write_bytes(content)
        context.load_cert_chain(tmp_path / CERTIFICATE_FILE, tmp_path / KEY_FILE)
    assert heard_from(port, context, ticket) == b""


def heard_from(port: int, context: ssl.SSLContext, words: bytes) -> bytes:
    """What the other side of a TLS connection says to these words."""
    with socket.create_connection((HERE, port), timeout=SECONDS) as connection:
        try:
            with context.wrap_socket(connection, server_hostname=HERE) as encrypted:
                encrypted.sendall(words)
                return encrypted.recv(1000)
        except (ssl.SSLError, ConnectionError):
            return b""


def test_nothing_older_than_tls_1_3_is_spoken(worker: ScriptedWorker, folders: Folders) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(folders.coordinator / "ca.pem")
    context.load_cert_chain(folders.coordinator / CERTIFICATE_FILE, folders.coordinator / KEY_FILE)
    context.set_alpn_protocols(["h2"])
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    assert heard_from(worker.address.port, context, preface) != b""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for port in (worker.address.port, express_port(worker, folders)[0]):
        assert heard_from(port, context, preface) == b""


def test_a_worker_by_another_name_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    folders = make_folders(tmp_path / "tls", "127.0.0.2+elsewhere.local")
    with scripted_worker(small_bundle, tls=folders.root / "worker-127.0.0.2") as worker:
        said = why_not(worker.address, folders.coordinators_credentials())
        with folders.coordinators_channel(worker.address) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                expert_pb2_grpc.ExpertServiceStub(channel).Describe(pb.DescribeRequest(), timeout=SECONDS)
    assert "its certificate is refused here: IP address mismatch" in said
    assert isinstance(caught.value, grpc.Call) and caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (lambda ours, others: pems_in(ours.coordinator), "unsuitable certificate purpose"),
        (lambda ours, others: pems_in(others.worker), "unable to get local issuer certificate"),
        (lambda ours, others: expired(ours, ours.worker), "certificate has expired"),
    ],
    ids=["a coordinator", "wrong authority", "expired"],
)
def test_a_false_worker_is_refused(
    folders: Folders, others: Folders, shown: Callable[[Folders, Folders], PemPair], words: str
) -> None:
    pems = shown(folders, others)
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port(
        f"{HERE}:0", grpc.ssl_server_credentials([(pems.key, pems.certificate)], pems.certificate, True)
    )
    server.start()
    said = why_not(Address(HERE, port), folders.coordinators_credentials())
    with folders.coordinators_channel(Address(HERE, port)) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            expert_pb2_grpc.ExpertServiceStub(channel).Describe(pb.DescribeRequest(), timeout=SECONDS)
    server.stop(grace=None).wait()
    assert f"worker {HERE}:{port}: its certificate is refused here: {words}" in said
    assert isinstance(caught.value, grpc.Call) and caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_coordinator_says_what_is_in_its_way(
    worker: ScriptedWorker,
    folders: Folders,
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Trusts the worker's authority, but its own certificate is of another one.
    mixed = make_folders(tmp_path / "tls")
    shutil.copy(folders.coordinator / "ca.pem", mixed.coordinator / "ca.pem")
    said = why_not(worker.address, mixed.coordinators_credentials())
    assert (
        f"worker {worker.address}: it refuses our certificate: it is of an authority not trusted there"
        in said
    )
    credentials = mixed.coordinators_credentials()
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "datetime", YearsLater)
        assert "it refuses our certificate: the certificate expired on" in why_not(
            worker.address, credentials
        )
    assert "it demands TLS: give --tls DIR" in why_not(worker.address, None)
    with scripted_worker(small_bundle) as plain:
        said = why_not(plain.address, folders.coordinators_credentials())
    assert "it does not speak TLS 1.3" in said and "was that worker started with --tls?" in said
