"""Real workers inside the test's process, whose experts do what a test says, and every way to reach one."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.transport.connection import Connection, ConnectionSettings, GiveUp, never
from jangtq_coordinator.transport.express_connection import ExpressConnection
from jangtq_coordinator.transport.express_handshake import ExpressSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_coordinator.transport.local_experts import LocalConnection
from jangtq_kernels.backend import ExpertRows, LoadedLayer, PartialSums
from jangtq_kernels.reference import ReferenceBackend
from jangtq_kernels.weights import ExpertWeights
from jangtq_proto.addresses import Address
from jangtq_proto.errors import WorkerUnreachableError
from jangtq_proto.ranges import parse_ranges
from jangtq_proto.tls.certificates import Role
from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.row_type import RowType
from jangtq_worker.server import WorkerServer
from jangtq_worker.settings import WorkerSettings
from tests.support.connection_answers import CallConnection

HIDDEN = 64
EXPERTS = 32


class Script:
    """What happens when experts are asked; `act` may be changed at any time."""

    def __init__(self) -> None:
        self.act: Callable[[], object] = lambda: None
        self.asked = threading.Event()


class ScriptedLayer:
    """Does what the script says, then computes."""

    def __init__(self, layer: LoadedLayer, script: Script) -> None:
        self._layer = layer
        self._script = script

    @property
    def nbytes(self) -> int:
        return self._layer.nbytes

    def forward(self, asked: ExpertRows) -> PartialSums:
        self._script.asked.set()
        self._script.act()
        return self._layer.forward(asked)


class ScriptedBackend:
    """The reference, under a script."""

    name = "reference"

    def __init__(self, script: Script) -> None:
        self._script = script

    def load(self, weights: ExpertWeights) -> ScriptedLayer:
        return ScriptedLayer(ReferenceBackend().load(weights), self._script)


class ScriptedWorker:
    """Serves from `start` to `stop`, which may be repeated; the port stays the same."""

    def __init__(
        self, bundle: Path, *, max_streams: int = 16, max_calls: int = 16, tls: Path | None = None
    ) -> None:
        self.script = Script()
        self.address = Address("127.0.0.1", 0)
        self._bundle = bundle
        self._max_streams = max_streams
        self._max_calls = max_calls
        self.tls = tls
        self._server: WorkerServer | None = None

    @property
    def server(self) -> WorkerServer:
        assert self._server is not None, "the worker is not running"
        return self._server

    @property
    def is_running(self) -> bool:
        return self._server is not None

    def start(self, experts: str = f"0-{EXPERTS - 1}") -> None:
        settings = WorkerSettings(
            self._bundle,
            parse_ranges(experts),
            self.address,
            max_streams=self._max_streams,
            max_calls=self._max_calls,
            tls=self.tls,
        )
        self._server = WorkerServer(settings, ScriptedBackend(self.script))
        self._server.startup()
        self._server.load()
        self.address = self._server.listening

    def stop(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.shutdown()


@contextmanager
def scripted_worker(
    bundle: Path, *, max_streams: int = 16, max_calls: int = 16, tls: Path | None = None
) -> Iterator[ScriptedWorker]:
    worker = ScriptedWorker(bundle, max_streams=max_streams, max_calls=max_calls, tls=tls)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


class FakeConnection:
    """No network: asks the admission of a worker in this process, with the same frames."""

    def __init__(self, worker: ScriptedWorker) -> None:
        self._worker = worker
        self._calls: dict[int, bytes] = {}

    def send(self, call_id: int, frame: bytes) -> None:
        self._calls[call_id] = frame

    def receive(self, call_id: int, give_up: GiveUp = never) -> bytes:
        if call_id not in self._calls:
            raise WorkerUnreachableError("the call was lost")
        if not self._worker.is_running:
            raise WorkerUnreachableError(f"worker {self._worker.address}: it is not running")
        return self._worker.server.admission.answer(self._calls.pop(call_id))

    def abandon(self) -> None:
        self._calls.clear()

    def close(self) -> None:
        pass


EAGER = ExpressSettings(retry_seconds=0)
"""Tries the express transport again at once after it broke."""


@dataclass(frozen=True)
class Way:
    """One transport."""

    name: str
    express: bool = False
    unix: bool = False
    secured: bool = False

    def __str__(self) -> str:
        return self.name


FAKE, LOCAL = Way("fake"), Way("local")
GRPC, EXPRESS = Way("gRPC"), Way("express", express=True)
EXPRESS_UNIX = Way("express-Unix", express=True, unix=True)
EXPRESS_TLS = Way("express-TLS", express=True, secured=True)
NETWORK = (GRPC, EXPRESS, EXPRESS_UNIX)
"""Those that need no certificates."""


@contextmanager
def connection_to(
    worker: ScriptedWorker,
    way: Way,
    *,
    row_type: RowType = RowType.FLOAT32,
    call_timeout_seconds: float = 30,
    express: ExpressSettings = EAGER,
    credentials: Credentials | None = None,
) -> Iterator[CallConnection]:
    """A connection that has met its worker, or one to the experts that it would have if they were local."""
    name = f"worker {worker.address}"
    if way in (FAKE, LOCAL):
        yield CallConnection(_without_network(worker, way), row_type, name=name)
        return
    if way.secured and worker.tls is not None:
        credentials = Credentials(worker.tls.with_name("coordinator"), Role.COORDINATOR)
    settings = ConnectionSettings(HIDDEN, 10, call_timeout_seconds, credentials)
    control = GrpcConnection(worker.address, settings)
    express = replace(express, credentials=credentials, unix_sockets=way.unix)
    connection: Connection = ExpressConnection(control, settings, express) if way.express else control
    try:
        control.expect(control.describe())
        yield CallConnection(connection, row_type, name=name)
    finally:
        connection.close()


def _without_network(worker: ScriptedWorker, way: Way) -> Connection:
    if way is FAKE:
        return FakeConnection(worker)
    admission = worker.server.admission
    return LocalConnection(lambda: admission.shard().layers, admission.shape)


def some_call(rows: int = 2, *, slots: int = 4, seed: int = 0, hidden_size: int = HIDDEN) -> LayerCall:
    random = np.random.default_rng(seed)
    return LayerCall(
        layer=0,
        rows=random.standard_normal((rows, hidden_size)).astype(np.float32),
        expert_ids=random.integers(-1, EXPERTS, (rows, slots), dtype=np.int32),
        router_weights=random.random((rows, slots), dtype=np.float32),
        exponents=random.integers(-24, -18, rows, dtype=np.int8),
        prefill=False,
    )


def ask(connection: CallConnection, call: LayerCall | None = None) -> NDArray[np.int32]:
    return connection.receive(connection.send(call or some_call())).partial_sums
