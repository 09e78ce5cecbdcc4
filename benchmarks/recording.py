"""What recording where time goes costs: one cluster's passes, recorded and not, in turns, compared in pairs.

Run as `python -m benchmarks.recording [--write]`, on the demo bundle with two workers of one thread.
"""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from benchmarks.overlap import two_workers
from benchmarks.results import benchmark_options, publish
from jangtq_bundle.bundle import Bundle
from jangtq_bundle.models import demo_model
from jangtq_coordinator.assembly.connect import Cluster, connect
from jangtq_coordinator.config import ClusterSettings, Transport
from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.kv.layer_cache import KvForm
from jangtq_coordinator.model.minimax import CoordinatorModel, load_model
from jangtq_proto.addresses import Address
from jangtq_proto.wire.row_type import RowType

PAIRS = 150
PASSES = 16
"""Of each of a pair, one after the other: what is noted of many exchanges is written down at once."""
CONTEXT = 100
CONFIDENCE_DEVIATIONS = 1.96
"""Of the normal distribution, for 95%."""


@dataclass(frozen=True)
class Middle:
    """The median of some differences, and between which of them it lies with 95% confidence."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Middle":
        """By ranks, which assume nothing of how the values are spread."""
        ordered, count = sorted(values), len(values)
        reach = CONFIDENCE_DEVIATIONS * math.sqrt(count) / 2
        low, high = max(0, int(count / 2 - reach)), min(count - 1, math.ceil(count / 2 + reach))
        return cls(ordered[low], statistics.median(ordered), ordered[high])


@dataclass(frozen=True)
class Taken:
    """Microseconds of a pass in the mean, and of processor time of the thread that made it."""

    wall: float
    processor: float


@dataclass(frozen=True)
class Cost:
    """Of passes over one transport: the median of those not recorded, and what the others took more."""

    transport: Transport
    unrecorded_us: float
    wall: Middle
    processor: Middle

    def text(self) -> str:
        cells = [f"{self.transport}", f"{self.unrecorded_us:.0f}"]
        for more in (self.wall, self.processor):
            cells.append(f"{more.median:.1f} ({more.low:.1f} to {more.high:.1f})")
        cells += [f"{more.median / self.unrecorded_us:.2%}" for more in (self.wall, self.processor)]
        return "| " + " | ".join(cells) + " |"


def measure(bundle: Bundle, workers: tuple[Address, ...], transport: Transport, pairs: int) -> Cost:
    """Whichever of a pair is first is the other's second in the next."""
    cluster = connect(
        bundle, ClusterSettings(bundle.path, workers, transport=transport), row_type=RowType.FLOAT32
    )
    try:
        model = load_model(bundle, cluster.dispatcher, RowType.FLOAT32)
        kv = BatchCache.empty(len(model.layers), KvForm())
        mx.eval(model.last_logits(mx.array([[1] * CONTEXT]), cache=kv.layers))
        taken: dict[bool, list[Taken]] = {False: [], True: []}
        for number in range(pairs):
            for recorded in (number % 2 == 0, number % 2 == 1):
                taken[recorded].append(_decode(cluster, model, kv, recorded=recorded))
    finally:
        cluster.close()
    couples = list(zip(taken[True], taken[False], strict=True))
    return Cost(
        transport,
        statistics.median(one.wall for one in taken[False]),
        wall=Middle.of([with_it.wall - without.wall for with_it, without in couples]),
        processor=Middle.of([with_it.processor - without.processor for with_it, without in couples]),
    )


def _decode(cluster: Cluster, model: CoordinatorModel, kv: BatchCache, *, recorded: bool) -> Taken:
    lengths = kv.lengths
    _ = cluster.dispatcher.times  # counts what was noted
    cluster.dispatcher.records = recorded
    processor, wall = time.thread_time_ns(), time.perf_counter_ns()
    for _ in range(PASSES):
        mx.eval(model(mx.array([[2]]), cache=kv.layers))
    _ = cluster.dispatcher.times  # counts what was noted
    unit = 1e3 * PASSES
    taken = Taken((time.perf_counter_ns() - wall) / unit, (time.thread_time_ns() - processor) / unit)
    kv.cut(lengths)
    return taken


def report(costs: Sequence[Cost], *, layers: int, pairs: int) -> str:
    """A Markdown table."""
    lines = [
        "| transport | pass us | recorded takes more, us | more processor time, us | of a pass | of a pass |",
        "|---" * 6 + "|",
        *(cost.text() for cost in costs),
        f"\n{pairs} pairs of {PASSES} passes of one token through {layers} layers. Medians of the pairs' "
        "differences, in brackets their 95% confidence intervals.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the table, and keep it with --write."""
    parser = benchmark_options(__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, metavar="N", help="(default: %(default)s)")
    given = parser.parse_args()
    bundle = Bundle.open(demo_model())
    with two_workers(bundle.path) as workers:
        costs = [measure(bundle, workers, transport, given.pairs) for transport in Transport]
    table = report(costs, layers=bundle.config.layer_count, pairs=given.pairs)
    publish("Cost of recording", "python -m benchmarks.recording", table, write=given.write)


if __name__ == "__main__":
    main()
