"""Exchanges of one 3072-wide float32 row with one and two workers, beside raw TCP with the same bytes.

Run as `python -m benchmarks.dispatch [--write]`. Turns are short and alternate, so that whatever else the
machine does falls on all alike; ratios are to blocking raw TCP with as many peers in the same run.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.exchange_ways import (
    LANES,
    POLL_US,
    POLLING,
    Exchange,
    Way,
    lane_way,
    raw_way,
    start_workers,
    write_bundle,
)
from benchmarks.results import write_section
from jangtq_coordinator.children import Children

TURN = 250
WARM_UP = 25


@dataclass(frozen=True)
class Times:
    """Microseconds of a way's exchanges with one number of peers, less what the slowest peer computed."""

    name: str
    peers: int
    median: float
    p99: float


def measure(ways: Sequence[Way], exchanges: int) -> list[Times]:
    """All ways in turn, again and again, until each has made this many exchanges."""
    taken: dict[tuple[str, int], list[int]] = {}
    for _ in range(-(-exchanges // TURN)):
        for way in ways:
            for peers, exchange in enumerate(way.exchanges, start=1):
                taken.setdefault((way.name, peers), []).extend(_take_turn(exchange))
    return [_summarise(name, peers, times) for (name, peers), times in taken.items()]


def _take_turn(exchange: Exchange) -> list[int]:
    for _ in range(WARM_UP):
        exchange()
    times = []
    for _ in range(TURN):
        started = time.perf_counter_ns()
        computed = exchange()
        times.append(time.perf_counter_ns() - started - computed)
    return times


def _summarise(name: str, peers: int, times: list[int]) -> Times:
    ordered = sorted(times)
    return Times(name, peers, ordered[len(ordered) // 2] / 1000, ordered[int(len(ordered) * 0.99)] / 1000)


def run(exchanges: int) -> list[Times]:
    """Raw sockets, workers that only echo, the same with polling, and workers with experts of zeros."""
    with tempfile.TemporaryDirectory() as scratch, Children() as children, ExitStack() as stack:
        bundle = write_bundle(Path(scratch))
        echoes = start_workers(children, "benchmarks.echo", _echo(bundle))
        polling = start_workers(children, "benchmarks.echo", _echo(bundle, poll_us=POLL_US))
        real = start_workers(children, "jangtq_worker", _worker(bundle))
        ways = [raw_way(children, stack), raw_way(children, stack, poll_us=POLL_US)]
        ways += [lane_way(stack, echoes, choice) for choice in LANES]
        ways.append(lane_way(stack, polling, POLLING))
        ways += [lane_way(stack, real, choice, suffix=", MoE block") for choice in LANES]
        return measure(ways, exchanges)


def _echo(bundle: Path, *, poll_us: int = 0) -> Callable[[str], list[str]]:
    return lambda experts: ["worker", str(bundle), experts, "--poll-us", str(poll_us)]


def _worker(bundle: Path) -> Callable[[str], list[str]]:
    options = ["--listen", "127.0.0.1:0", "--threads", "1", "--stop-on-stdin-close"]
    return lambda experts: ["--model", str(bundle), "--experts", experts, *options]


def report(results: Sequence[Times], exchanges: int) -> str:
    """A Markdown table, and what it was measured on."""
    floor = {times.peers: times.median for times in results if times.name == "raw TCP"}
    lines = ["| way | peers | median us | p99 us | ratio to raw TCP |", "|---|---|---|---|---|"]
    lines += [
        f"| {t.name} | {t.peers} | {t.median:.1f} | {t.p99:.1f} | {t.median / floor[t.peers]:.2f} |"
        for t in results
    ]
    load = psutil.getloadavg()[0] / (psutil.cpu_count() or 1)
    lines.append(
        f"\n{exchanges} exchanges each, in turns of {TURN}. MoE block: time of the block less the slower "
        f"worker's own. Polling {POLL_US} us. Load at the end: {load:.1f} a core, our own included."
    )
    return "\n".join(lines)


def main() -> None:
    """Print the table, and keep it with --write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchanges", type=int, default=5000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="replace the section in benchmarks/RESULTS.md")
    given = parser.parse_args()
    table = report(run(given.exchanges), given.exchanges)
    print(table)
    if given.write:
        write_section("Exchange of one row", "python -m benchmarks.dispatch --write", table)


if __name__ == "__main__":
    main()
