"""Express connections to a worker: what they fall back to, how they end, how they are chosen."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from jangtq_coordinator.cli.main import program
from jangtq_coordinator.config import ClusterSettings, Transport
from jangtq_coordinator.transport import express_connection
from jangtq_coordinator.transport.connection import ConnectionSettings
from jangtq_coordinator.transport.express_connection import ExpressConnection
from jangtq_coordinator.transport.express_handshake import ExpressSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_proto.addresses import parse_address
from jangtq_proto.errors import ConfigurationError, WorkerUnreachableError
from jangtq_proto.ranges import parse_ranges
from jangtq_proto.sockets.local_sockets import SocketFolder
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_worker.cli import command_line
from jangtq_worker.settings import WorkerSettings
from tests.support.cluster_processes import run_coordinator, running_workers, start_worker
from tests.support.connection_answers import CallConnection
from tests.support.forks import processes
from tests.support.scripted_workers import (
    EXPRESS,
    EXPRESS_UNIX,
    HIDDEN,
    ScriptedWorker,
    ask,
    connection_to,
    scripted_worker,
)


@pytest.fixture
def worker(small_bundle: Path) -> Iterator[ScriptedWorker]:
    with scripted_worker(small_bundle) as running:
        yield running


def test_a_broken_connection_is_replaced_by_grpc_and_tried_again_later(
    worker: ScriptedWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="jangtq.cluster")
    for retry_seconds, connections_opened in ((3600, 1), (0, 2)):
        caplog.clear()
        with connection_to(
            worker, EXPRESS, express=ExpressSettings(retry_seconds=retry_seconds)
        ) as connection:
            assert isinstance(connection.connection, ExpressConnection)
            ask(connection)
            worker.stop()
            with pytest.raises(WorkerUnreachableError):
                ask(connection)
            worker.start()
            assert ask(connection).shape == ask(connection).shape == (2, HIDDEN)
        assert (
            sum("express transport over TCP" in message for message in caplog.messages) == connections_opened
        )


@pytest.mark.parametrize(("is_optional", "level"), [(False, "WARNING"), (True, "INFO")])
def test_a_worker_that_lets_nobody_in_is_asked_over_grpc_and_less_and_less_often(
    worker: ScriptedWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_optional: bool,
    level: str,
) -> None:
    """A firewall, for example: the ticket is had, but nobody answers at the port."""
    caplog.set_level(logging.INFO, logger="jangtq.cluster")
    now = 1000.0
    monkeypatch.setattr(express_connection, "time", SimpleNamespace(monotonic=lambda: now))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    express = ExpressSettings(retry_seconds=1, is_optional=is_optional)
    with connection_to(worker, EXPRESS, express=express) as connection:
        reply = pb.OpenExpressReply(ticket=bytes(32), port=port)
        monkeypatch.setattr(GrpcConnection, "open_express", lambda connection: reply)
        tried = []
        for _ in range(8):
            caplog.clear()
            assert ask(connection).shape == (2, HIDDEN)
            said = f"worker {worker.address}: no express transport, using gRPC"
            found = [record for record in caplog.records if said in record.getMessage()]
            assert {record.levelname for record in found} <= {level}
            tried.append(len(found))
            now += 1
    assert tried == [1, 1, 0, 1, 0, 0, 0, 1]


def test_a_unix_socket_that_does_not_answer_is_replaced_by_tcp(
    worker: ScriptedWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="jangtq.cluster")
    with connection_to(worker, EXPRESS_UNIX) as connection:
        ask(connection)
        for file in SocketFolder().path.glob(f"*-{worker.address.port}-*"):
            file.unlink()
        connection.abandon()
        caplog.clear()
        assert ask(connection).shape == (2, HIDDEN)
    assert "using TCP" in " ".join(caplog.messages)


def test_polling_finds_the_same_answers(small_bundle: Path) -> None:
    with processes() as children:
        process = start_worker(children, small_bundle, "0-31", options=["--poll-us", "300"])
        process.ready()
        settings = ConnectionSettings(HIDDEN, 10, 30)
        control = GrpcConnection(parse_address(process.listening()), settings)
        control.expect(control.describe())
        connection = CallConnection(ExpressConnection(control, settings, ExpressSettings(poll_us=300)))
        assert ask(connection).tolist() == ask(connection).tolist()
        connection.close()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_no_socket_is_left_or_in_the_way(small_bundle: Path, end: signal.Signals) -> None:
    with processes() as children:
        first = start_worker(children, small_bundle, "0-31")
        first.ready()
        address = parse_address(first.listening())
        settings = ConnectionSettings(HIDDEN, 10, 30)
        control = GrpcConnection(address, settings)
        control.expect(control.describe())
        connection = CallConnection(ExpressConnection(control, settings, ExpressSettings(retry_seconds=0)))
        ask(connection)
        os.kill(first.process.pid, end)
        first.process.wait(30)
        left = list(SocketFolder().path.glob(f"*-{address.port}-*"))
        assert len(left) == (1 if end is signal.SIGKILL else 0)
        with pytest.raises(WorkerUnreachableError):
            ask(connection)
        start_worker(children, small_bundle, "0-31", listen=str(address)).ready()
        assert ask(connection).shape == (2, HIDDEN)
        connection.close()
    assert not list(SocketFolder().path.glob(f"*-{address.port}-*"))


def test_an_answer_does_not_depend_on_the_transport(small_bundle: Path) -> None:
    with running_workers(small_bundle, ["0-15", "16-31"]) as workers:
        line = ["generate", "--model", str(small_bundle), "--workers", ",".join(map(str, workers))]
        line += ["--prompt", "hi", "--max-tokens", "8", "--temperature", "0"]
        over_grpc = run_coordinator(*line)
        over_express = run_coordinator(*line, "--transport", "express", "--poll-us", "20")
    assert over_grpc.returncode == over_express.returncode == 0
    assert over_grpc.stdout == over_express.stdout != ""
    assert over_express.stderr.count("express transport over Unix socket") == 2


def test_a_connection_goes_through_the_port_that_was_chosen(small_bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with processes() as children:
        worker = start_worker(children, small_bundle, "0-31", options=["--express-port", port])
        worker.ready()
        line = ["generate", "--model", str(small_bundle), "--workers", worker.listening(), "--prompt", "hi"]
        line += ["--max-tokens", "2", "--transport", "express", "--no-unix-sockets"]
        done = run_coordinator(*line)
    assert done.returncode == 0, done.stderr
    assert f"express transport over TCP port {port}" in done.stderr


@pytest.mark.parametrize(
    ("listen", "port", "words"),
    [
        ("127.0.0.1:7700", "7700", "--express-port 7700 is the port of --listen: choose another"),
        ("127.0.0.1:7700", "65536", "--express-port 65536: allowed are 0 to 65535"),
        ("127.0.0.1:7700", "-1", "--express-port -1: allowed are 0 to 65535"),
        ("unix:/tmp/a", "7701", "--express-port: --listen unix:/tmp/a cannot be reached by TCP"),
    ],
)
def test_a_port_that_cannot_be_the_connections_is_refused(listen: str, port: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        WorkerSettings(Path("a"), parse_ranges("0"), parse_address(listen), express_port=int(port))


def test_the_command_lines_know_the_connection(tmp_path: Path) -> None:
    line = ["generate", "--model", str(tmp_path), "--workers", "a", "--prompt", "hi"]
    settings = program().read(line)[1][ClusterSettings]
    assert (settings.transport, settings.poll_us, settings.unix_sockets) == (Transport.GRPC, 0, True)
    assert program().read([*line, "--transport", "auto"])[1][ClusterSettings].transport is Transport.AUTO
    line += ["--transport", "express", "--poll-us", "40", "--no-unix-sockets"]
    settings = program().read(line)[1][ClusterSettings]
    assert (settings.transport, settings.poll_us, settings.unix_sockets) == (Transport.EXPRESS, 40, False)
    worker = ["--model", str(tmp_path), "--experts", "0", "--poll-us"]
    chosen = command_line().read([*worker, "7", "--express-port", "7701"])[WorkerSettings]
    assert (chosen.poll_us, chosen.express_port) == (7, 7701)
    assert command_line().read(worker[:-1])[WorkerSettings].express_port == 0
