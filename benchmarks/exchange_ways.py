"""Ways to exchange one row with one or two workers, over every lane, or as a block. Measures nothing."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jangtq_coordinator.children import Child, Children
from jangtq_coordinator.dispatch import Dispatcher
from jangtq_coordinator.express_door import ExpressSettings
from jangtq_coordinator.express_lane import ExpressLane
from jangtq_coordinator.grpc_lane import GrpcLane, LaneSettings
from jangtq_coordinator.lane import Lane
from jangtq_coordinator.timing import ExchangeTimes, LayerTimes
from jangtq_proto.addresses import parse_address
from jangtq_proto.codec import LayerCall, RowType

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

HIDDEN = 3072
INTERMEDIATE = 1536
SLOTS = 8
EXPERTS = 32
HALVES = ("0-15", "16-31")
POLL_US = 2000
RAW = "raw TCP"
MOE_BLOCK = ", MoE block"

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


def start_workers(children: Children, module: str, arguments: Callable[[str], list[str]]) -> list[Child]:
    """One process for each half of the experts, ready to serve."""
    workers = [children.start(f"{module} {half}", module, arguments(half)) for half in HALVES]
    for worker in workers:
        worker.ready()
    return workers


def lane_way(stack: ExitStack, workers: Sequence[Child], choice: LaneChoice) -> Way:
    """Lanes of this kind to these workers."""
    lanes = [_open_lane(worker, choice) for worker in workers]
    for lane in lanes:
        stack.callback(lane.close)
    calls = [some_call(peer) for peer in range(len(lanes))]

    def exchange_with(count: int) -> Exchange:
        def exchange() -> int:
            asked = [(lane, lane.send(call)) for lane, call in zip(lanes[:count], calls, strict=False)]
            return max([lane.receive(call_id).compute_ns for lane, call_id in asked])

        return exchange

    return Way(choice.name, tuple(exchange_with(count) for count in (1, 2)))


def block_way(stack: ExitStack, workers: Sequence[Child], choice: LaneChoice) -> Way:
    """Whole MoE blocks over such lanes: eight experts of one row, shared out, asked for and added up."""
    return Way(
        choice.name + MOE_BLOCK,
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


def some_call(peer: int) -> LayerCall:
    """One row for the experts of one half."""
    ids = np.full((1, SLOTS), -1, dtype=np.int32)
    ids[0, : SLOTS // 2] = np.arange(SLOTS // 2) + peer * (EXPERTS // len(HALVES))
    row = np.random.default_rng(peer).standard_normal((1, HIDDEN)).astype(np.float32)
    weights = np.full((1, SLOTS), 1 / SLOTS, dtype=np.float32)
    return LayerCall(0, row, ids, weights, exponents=np.zeros(1, dtype=np.int8), prefill=False)
