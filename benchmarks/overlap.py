"""Passes run whole and as two halves, with workers near by and behind a slow link; and what auto chooses.

Run as `python -m benchmarks.overlap [--write]`. The three ways take turns, pass by pass, on the demo bundle.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx

from benchmarks.results import benchmark_options, publish
from jangtq_bundle.bundle import Bundle
from jangtq_bundle.models import demo_model
from jangtq_coordinator.assembly.connect import Cluster, connect
from jangtq_coordinator.cli.demo.processes import Children
from jangtq_coordinator.config import ClusterSettings
from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.kv.layer_cache import KvForm
from jangtq_coordinator.model.minimax import CoordinatorModel, load_model
from jangtq_coordinator.model.overlap import OverlapChooser, OverlapMode
from jangtq_proto.addresses import Address, parse_address
from jangtq_proto.wire.row_type import RowType
from tests.support.slow_relay import Slowness, relay_to

PASSES = 60
"""Of each way; the second half counts, when auto has tried both."""
SEQUENCES = 16
PREFILL = 256
CONTEXT = 100
LINKS = {
    "on this machine": None,
    "2 ms away": Slowness(delay_seconds=0.002),
    "2 ms away, 200 Mbit/s": Slowness(delay_seconds=0.002, bytes_per_second=200e6 / 8),
}


@dataclass
class Line:
    """Seconds of each pass, by mode; which way auto came to run them, and the part of its time that it cost
    to find out.
    """

    link: str
    work: str
    seconds: dict[OverlapMode, list[float]] = field(
        default_factory=lambda: {mode: [] for mode in OverlapMode}
    )
    chosen: bool = False
    trials: float = 0.0

    def text(self) -> str:
        auto, on, off = (statistics.median(self.seconds[mode][PASSES // 2 :]) * 1000 for mode in OverlapMode)
        return (
            f"| {self.link} | {self.work} | {off:.2f} | {on:.2f} | {off / on:.2f} | {auto:.2f} | "
            f"{auto / min(on, off):.2f} | {self.trials:.1%} | {'halves' if self.chosen else 'whole'} |"
        )


@contextmanager
def two_workers(bundle: Path) -> Iterator[tuple[Address, ...]]:
    """One thread each, ready."""
    with Children() as children:
        options = ["--listen", "127.0.0.1:0", "--threads", "1", "--stop-on-stdin-close"]
        started = [
            children.start(half, "jangtq_worker", ["--model", str(bundle), "--experts", half, *options])
            for half in ("0-127", "128-255")
        ]
        for worker in started:
            worker.ready()
        yield tuple(parse_address(worker.listening()) for worker in started)


def measure(bundle: Bundle, link: str, workers: tuple[Address, ...]) -> list[Line]:
    """Decoding and prefill over one link."""
    with ExitStack() as stack:
        choosers = {mode: OverlapChooser(mode) for mode in OverlapMode}
        models = {mode: _open(stack, bundle, workers, chooser) for mode, chooser in choosers.items()}
        batches = {mode: _batch(model) for mode, model in models.items()}
        auto = choosers[OverlapMode.AUTO]
        decode = _alternate(
            Line(link, f"decode, {SEQUENCES} sequences"),
            auto,
            lambda mode: _decode(models[mode], batches[mode]),
        )
        prefill = _alternate(
            Line(link, f"prefill, {PREFILL} tokens"), auto, lambda mode: _prefill(models[mode])
        )
        chosen = {(state.kind, state.most_rows): state.overlapped for state in auto.states()}
        decode.chosen, prefill.chosen = chosen["decode", SEQUENCES], chosen["prefill", PREFILL]
    return [decode, prefill]


def _alternate(line: Line, auto: OverlapChooser, run: Callable[[OverlapMode], float]) -> Line:
    """Fill in a line; each way follows each other way as often."""
    before = auto.trial_seconds
    orders = list(itertools.permutations(OverlapMode))
    for number in range(PASSES):
        for mode in orders[number % len(orders)]:
            line.seconds[mode].append(run(mode))
    line.trials = (auto.trial_seconds - before) / sum(line.seconds[OverlapMode.AUTO])
    return line


def _open(
    stack: ExitStack, bundle: Bundle, workers: tuple[Address, ...], chooser: OverlapChooser
) -> CoordinatorModel:
    settings = ClusterSettings(bundle.path, workers, unix_sockets=False)
    cluster: Cluster = connect(bundle, settings, row_type=RowType.FLOAT32)
    stack.callback(cluster.close)
    return load_model(bundle, cluster.dispatcher, RowType.FLOAT32, chooser)


def _batch(model: CoordinatorModel) -> BatchCache:
    whole = _prompt(model, CONTEXT)
    for _ in range(SEQUENCES - 1):
        whole.join(_prompt(model, CONTEXT))
    return whole


def _prompt(model: CoordinatorModel, tokens: int) -> BatchCache:
    kv = BatchCache.empty(len(model.layers), KvForm())
    mx.eval(model.last_logits(mx.array([[1] * tokens]), cache=kv.layers))
    return kv


def _decode(model: CoordinatorModel, kv: BatchCache) -> float:
    lengths = kv.lengths
    started = time.perf_counter()
    mx.eval(model(mx.array([[2]] * SEQUENCES), cache=kv.layers))
    seconds = time.perf_counter() - started
    kv.cut(lengths)
    return seconds


def _prefill(model: CoordinatorModel) -> float:
    started = time.perf_counter()
    _prompt(model, PREFILL)
    return time.perf_counter() - started


def run() -> list[Line]:
    """All links."""
    bundle = Bundle.open(demo_model())
    lines: list[Line] = []
    with two_workers(bundle.path) as workers:
        for link, slowness in LINKS.items():
            with ExitStack() as stack:
                reached = workers
                if slowness is not None:
                    relays = [stack.enter_context(relay_to(worker, slowness)) for worker in workers]
                    reached = tuple(relay.address for relay in relays)
                lines += measure(bundle, link, reached)
    return lines


def report(lines: list[Line]) -> str:
    """A Markdown table of medians; trials cost a part of auto's time, most of it at the start."""
    head = [
        "| workers | pass | whole ms | halves ms | gain | auto ms | to the better | its trials cost "
        "| auto chose |",
        "|---" * 9 + "|",
    ]
    return "\n".join(head + [line.text() for line in lines])


def main() -> None:
    """Print the table, and keep it with --write."""
    given = benchmark_options(__doc__).parse_args()
    table = report(run())
    publish("Overlap of half-batches", "python -m benchmarks.overlap", table, write=given.write)


if __name__ == "__main__":
    main()
