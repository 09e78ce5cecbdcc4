"""Ways to exchange one row with one or two processes: raw sockets and every lane. Measures nothing."""

import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.echo import read_exactly
from jangtq_coordinator.children import Child, Children
from jangtq_coordinator.dispatch import Dispatcher
from jangtq_coordinator.express_door import ExpressSettings
from jangtq_coordinator.express_lane import ExpressLane
from jangtq_coordinator.grpc_lane import GrpcLane, LaneSettings
from jangtq_coordinator.lane import Lane
from jangtq_coordinator.timing import ExchangeTimes, LayerTimes
from jangtq_proto.addresses import parse_address
from jangtq_proto.codec import LayerCall, RowType
from jangtq_proto.frames import LENGTH, Frame, answer_frame, call_frame

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

HIDDEN = 3072
INTERMEDIATE = 1536
SLOTS = 8
EXPERTS = 32
HALVES = ("0-15", "16-31")
POLL_US = 2000

Exchange = Callable[[], int]
"""One exchange with all peers at once; returns the nanoseconds that the slowest computed."""


@dataclass(frozen=True)
class Way:
    """A name, with a gap for the number of peers, and an exchange for each of these numbers."""

    name: str
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True)
class LaneChoice:
    """How a lane goes to its worker."""

    name: str
    express: bool
    unix: bool
    poll_us: int = 0


LANES = (
    LaneChoice("gRPC over TCP", express=False, unix=False),
    LaneChoice("gRPC over Unix sockets", express=False, unix=True),
    LaneChoice("express over TCP", express=True, unix=False),
    LaneChoice("express over Unix sockets", express=True, unix=True),
)
POLLING = LaneChoice("express over TCP, polling", express=True, unix=False, poll_us=POLL_US)


def write_bundle(folder: Path) -> Path:
    """One layer of experts of MiniMax-M2.7's shape, all zeros, and few."""
    from small_checkpoints import Sizes
    from sparse_bundles import write_sparse_bundle

    return write_sparse_bundle(
        folder / "bundle", Sizes(EXPERTS, hidden_size=HIDDEN, intermediate_size=INTERMEDIATE, layer_count=1)
    )


def raw_way(children: Children, stack: ExitStack, *, poll_us: int = 0) -> Way:
    """Plain TCP with exactly the bytes of an express call and its answer."""
    request, reply = _frames()
    arguments = ["raw", str(len(request)), str(len(reply)), "--poll-us", str(poll_us)]
    peers = [children.start(f"raw {i}", "benchmarks.echo", arguments) for i in range(len(HALVES))]
    sockets = [stack.enter_context(_connect(peer.listening())) for peer in peers]
    view = memoryview(bytearray(len(reply)))

    def exchange_with(count: int) -> Exchange:
        def exchange() -> int:
            for sock in sockets[:count]:
                sock.sendall(request)
            for sock in sockets[:count]:
                read_exactly(sock, view, poll_us=poll_us)
            return 0

        return exchange

    name = "raw TCP, polling" if poll_us else "raw TCP"
    return Way(name, tuple(exchange_with(count) for count in (1, 2)))


def start_workers(children: Children, module: str, arguments: Callable[[str], list[str]]) -> list[Child]:
    """One process for each half of the experts, ready to serve."""
    workers = [children.start(f"{module} {half}", module, arguments(half)) for half in HALVES]
    for worker in workers:
        worker.ready()
    return workers


def lane_way(stack: ExitStack, workers: Sequence[Child], choice: LaneChoice, *, suffix: str = "") -> Way:
    """Lanes of this kind to these workers."""
    lanes = [_open_lane(worker, choice) for worker in workers]
    for lane in lanes:
        stack.callback(lane.close)
    calls = [_some_call(peer) for peer in range(len(lanes))]

    def exchange_with(count: int) -> Exchange:
        def exchange() -> int:
            asked = [(lane, lane.send(call)) for lane, call in zip(lanes[:count], calls, strict=False)]
            return max([lane.receive(call_id).compute_ns for lane, call_id in asked])

        return exchange

    return Way(choice.name + suffix, tuple(exchange_with(count) for count in (1, 2)))


def block_way(stack: ExitStack, workers: Sequence[Child], choice: LaneChoice) -> Way:
    """Whole MoE blocks over such lanes: eight experts of one row, shared out, asked for and added up."""
    return Way(
        f"{choice.name}, MoE block",
        tuple(_block(stack, workers[:count], choice) for count in range(1, len(workers) + 1)),
    )


def _block(stack: ExitStack, workers: Sequence[Child], choice: LaneChoice) -> Exchange:
    times = NewestTimes(1)
    dispatcher = block_dispatcher([_open_lane(worker, choice) for worker in workers], times)
    stack.callback(dispatcher.close)
    block = block_exchange(dispatcher, peers=len(workers))

    def exchange() -> int:
        block()
        return times.newest.queue + times.newest.compute

    return exchange


class NewestTimes(LayerTimes):
    """Remembers the newest exchange, too."""

    newest: ExchangeTimes

    def record(self, times: ExchangeTimes) -> None:
        self.newest = times
        super().record(times)


def block_dispatcher(lanes: Sequence[Lane], times: LayerTimes) -> Dispatcher:
    """Over as many halves of the experts as there are lanes."""
    from fixed_cluster import membership_of

    ranges = dict(zip(map(str, range(len(lanes))), HALVES, strict=False))
    membership = membership_of(ranges, len(lanes) * EXPERTS // len(HALVES))
    # Experts of zeros answer on the finest grid; any other would have them asked twice.
    scales = np.zeros(1)
    return Dispatcher(membership, lambda member: lanes[int(member.name)], times, scales=scales)


def block_exchange(dispatcher: Dispatcher, *, peers: int) -> Callable[[], object]:
    """One row for eight experts, of each peer as many."""
    row = np.random.default_rng(0).standard_normal((1, HIDDEN)).astype(np.float32)
    ids = np.arange(0, peers * EXPERTS // len(HALVES), 2 * peers, dtype=np.int32)[None]
    weights = np.full(ids.shape, 1 / SLOTS, dtype=np.float32)
    assert ids.shape == (1, SLOTS)
    return lambda: dispatcher.forward(0, row, expert_ids=ids, router_weights=weights)


def _open_lane(worker: Child, choice: LaneChoice) -> Lane:
    settings = LaneSettings(HIDDEN, RowType.FLOAT32, 10, 60, unix_sockets=choice.unix)
    lane = GrpcLane(parse_address(worker.listening()), settings)
    lane.expect(lane.describe())
    if not choice.express:
        return lane
    return ExpressLane(lane, settings, ExpressSettings(poll_us=choice.poll_us))


def _some_call(peer: int) -> LayerCall:
    """One row for the experts of one half."""
    ids = np.full((1, SLOTS), -1, dtype=np.int32)
    ids[0, : SLOTS // 2] = np.arange(SLOTS // 2) + peer * (EXPERTS // len(HALVES))
    row = np.random.default_rng(peer).standard_normal((1, HIDDEN)).astype(np.float32)
    weights = np.full((1, SLOTS), 1 / SLOTS, dtype=np.float32)
    return LayerCall(0, row, ids, weights, exponents=np.zeros(1, dtype=np.int8), prefill=False)


def _frames() -> tuple[bytes, bytes]:
    call = _some_call(0)
    sums = np.zeros(call.rows.shape, dtype=np.int32)
    answer = answer_frame(1, sums, call.exponents, queue_ns=0, compute_ns=0)
    return _join(call_frame(1, call, RowType.FLOAT32)), _join(answer)


def _join(frame: Frame) -> bytes:
    data = b"".join(memoryview(part).cast("B") for part in frame)
    assert len(data) == LENGTH.size + LENGTH.unpack_from(data)[0]
    return data


def _connect(listening: str) -> socket.socket:
    address = parse_address(listening)
    sock = socket.create_connection((address.host, address.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
