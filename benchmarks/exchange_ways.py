"""Ways to exchange one row with one or two workers: every connection, or as a block. Measures nothing."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.placement import Placement
from jangtq_coordinator.cli.demo.processes import Child, Children
from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.dispatch.codec import Codec
from jangtq_coordinator.dispatch.dispatcher import Dispatcher
from jangtq_coordinator.dispatch.native_codec import NativeCodec
from jangtq_coordinator.dispatch.numpy_codec import NumpyCodec
from jangtq_coordinator.transport.connection import Connection, ConnectionSettings
from jangtq_coordinator.transport.express_connection import ExpressConnection
from jangtq_coordinator.transport.express_handshake import ExpressSettings
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_proto.addresses import parse_address
from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.wire.codec import LayerCall, Rows
from jangtq_proto.wire.frames import call_frame
from jangtq_proto.wire.row_type import RowType

HIDDEN = 3072
INTERMEDIATE = 1536
SLOTS = 8
EXPERTS = 32
HALVES = ("0-15", "16-31")
POLL_US = 2000
RAW = "raw TCP"
MOE_BLOCK = ", MoE block"
IN_NUMPY = ", without native code"
_TIMEOUT_SECONDS = 60


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Exchange:
    """`run` makes one exchange with all peers at once; `look` is called after each, when its time was taken.

    computed: the nanoseconds that the slowest peer computed, of each exchange since the last time; where
    nobody computes, nothing.
    """

    run: Callable[[], object]
    look: Callable[[], None] = _nothing
    computed: Callable[[], Sequence[int]] = tuple


@dataclass(frozen=True)
class Way:
    """A name, with a gap for the number of peers, and an exchange for each of these numbers."""

    name: str
    exchanges: tuple[Exchange, ...]
    first_peers: int = 1
    """Of the first exchange; each other one has one more."""


@dataclass(frozen=True)
class ConnectionChoice:
    """How a connection goes to its worker."""

    name: str
    express: bool
    unix: bool
    poll_us: int = 0


CONNECTIONS = (
    ConnectionChoice("gRPC over TCP", express=False, unix=False),
    ConnectionChoice("express over TCP", express=True, unix=False),
    ConnectionChoice("express over Unix sockets", express=True, unix=True),
)
POLLING = (
    ConnectionChoice("express over TCP, polling", express=True, unix=False, poll_us=POLL_US),
    ConnectionChoice("express over Unix sockets, polling", express=True, unix=True, poll_us=POLL_US),
)


def write_bundle(folder: Path) -> Path:
    """One layer of experts of MiniMax-M2.7's shape, all zeros, and few."""
    from tests.support.small_checkpoints import Sizes
    from tests.support.sparse_bundles import write_sparse_bundle

    return write_sparse_bundle(
        folder / "bundle", Sizes(EXPERTS, hidden_size=HIDDEN, intermediate_size=INTERMEDIATE, layer_count=1)
    )


def start_workers(
    children: Children,
    placement: Placement,
    module: str,
    arguments: Callable[[str], list[str]],
    *,
    held: Sequence[str] = HALVES,
) -> list[Child]:
    """One process for each half of the experts, or for what is held, ready to serve."""
    workers = [children.start(f"{module} {experts}", module, arguments(experts)) for experts in held]
    for peer, worker in enumerate(workers):
        placement.place(worker, peer)
    for worker in workers:
        worker.ready()
    return workers


def connection_way(stack: ExitStack, workers: Sequence[Child], choice: ConnectionChoice) -> Way:
    """Over connections of this kind: frames that are ready, and nothing is done with answers."""
    connections = [open_connection(worker, choice) for worker in workers]
    for connection in connections:
        stack.callback(connection.close)
    ids = itertools.count(1)
    frames = [call_frame(1, some_call(peer), RowType.FLOAT32) for peer in range(len(connections))]

    def exchange_with(count: int) -> Exchange:
        def exchange() -> None:
            call_id = next(ids)
            for connection, frame in zip(connections[:count], frames, strict=False):
                connection.send(call_id, with_call_id(frame, call_id))
            for connection in connections[:count]:
                connection.receive(call_id)

        return Exchange(exchange)

    return Way(choice.name, tuple(exchange_with(count) for count in (1, 2)))


def with_call_id(frame: bytes, call_id: int) -> bytes:
    """The same call under another id."""
    return frame[:8] + call_id.to_bytes(8, "little") + frame[16:]


def block_way(
    stack: ExitStack, workers: Sequence[Child], choice: ConnectionChoice, *, natively: bool = True
) -> Way:
    """Whole MoE blocks over such connections: eight experts of one row, split, asked for and added up."""
    name = choice.name + MOE_BLOCK + ("" if natively else IN_NUMPY)
    return Way(
        name,
        tuple(
            _block(stack, workers[:count], choice, natively=natively) for count in range(1, len(workers) + 1)
        ),
    )


def _block(
    stack: ExitStack, workers: Sequence[Child], choice: ConnectionChoice, *, natively: bool
) -> Exchange:
    connections = [open_connection(worker, choice) for worker in workers]
    return exchange_of(stack, block_dispatcher(connections, natively=natively), peers=len(workers))


def exchange_of(stack: ExitStack, dispatcher: Dispatcher, *, peers: int) -> Exchange:
    """A dispatcher's blocks, and what their slowest workers computed."""
    stack.callback(dispatcher.close)
    seen = 0

    def take_computed() -> Sequence[int]:
        nonlocal seen
        exchanges = dispatcher.timeline.copy().exchanges
        new = [times.queue + times.compute for times in exchanges if times.ended > seen]
        seen = exchanges[-1].ended if exchanges else 0
        return new

    return Exchange(block_exchange(dispatcher, peers=peers), computed=take_computed)


def block_dispatcher(connections: Sequence[Connection], *, natively: bool = True) -> Dispatcher:
    """Over as many halves of the experts as there are connections."""
    return Dispatcher(
        _members(len(connections)),
        lambda member: connections[int(member.name)],
        codec(natively=natively),
        # Experts of zeros answer on the finest grid; any other would have them asked twice.
        scales=np.zeros(1),
    )


def codec(*, natively: bool) -> Codec:
    """Of float32 rows."""
    return NativeCodec(RowType.FLOAT32) if natively else NumpyCodec(RowType.FLOAT32)


def _members(count: int) -> Membership:
    from tests.support.fixed_cluster import membership_of

    ranges = dict(zip(map(str, range(count)), HALVES, strict=False))
    return membership_of(ranges, count * EXPERTS // len(HALVES))


def block_exchange(dispatcher: Dispatcher, *, peers: int) -> Callable[[], object]:
    """One row for eight experts, of each peer as many."""
    row, ids, weights = _some_row(peers)
    return lambda: dispatcher.forward(0, row, expert_ids=ids, router_weights=weights)


def _some_row(peers: int) -> tuple[Rows, NDArray[np.int32], NDArray[np.float32]]:
    """One row, its experts and router weights."""
    row = np.random.default_rng(0).standard_normal((1, HIDDEN)).astype(np.float32)
    ids = np.arange(0, peers * EXPERTS // len(HALVES), 2 * peers, dtype=np.int32)[None]
    assert ids.shape == (1, SLOTS)
    return row, ids, np.full(ids.shape, 1 / SLOTS, dtype=np.float32)


def open_connection(
    worker: Child, choice: ConnectionChoice, credentials: Credentials | None = None
) -> Connection:
    """To a worker that serves."""
    settings = ConnectionSettings(HIDDEN, 10, _TIMEOUT_SECONDS, credentials)
    connection = GrpcConnection(parse_address(worker.listening()), settings)
    connection.expect(connection.describe())
    if not choice.express:
        return connection
    return ExpressConnection(connection, settings, ExpressSettings(choice.poll_us, credentials, choice.unix))


def some_call(peer: int) -> LayerCall:
    """One row for the experts of one half."""
    ids = np.full((1, SLOTS), -1, dtype=np.int32)
    ids[0, : SLOTS // 2] = np.arange(SLOTS // 2) + peer * (EXPERTS // len(HALVES))
    row = np.random.default_rng(peer).standard_normal((1, HIDDEN)).astype(np.float32)
    weights = np.full((1, SLOTS), 1 / SLOTS, dtype=np.float32)
    return LayerCall(0, row, ids, weights, exponents=np.zeros(1, dtype=np.int8), prefill=False)
