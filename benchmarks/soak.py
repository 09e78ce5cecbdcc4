"""Whether a cluster stays as it is under load, with a worker that is killed now and then.

Run as `python -m benchmarks.soak [--minutes N] [--write]`. Clients ask without a pause, some leave in the
middle of their answer; memory, files, threads of the coordinator and of the worker that stays are sampled.
"""

import asyncio
import contextlib
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import psutil

from benchmarks.replicated_cluster import REPLICAS, ReplicatedCluster, replicated_cluster
from benchmarks.results import benchmark_options, publish
from benchmarks.stream_client import ask

CLIENTS = 8
TOKENS = 96
LEAVE_EVERY = 5
SAMPLE_SECONDS = 2.0
STAYS, IS_KILLED = 0, 1
MEASURES = {"resident_mb": "resident MB", "files": "open files", "threads": "threads"}
KV_GIB = 0.05
"""Little, so that kept prompts fill it soon and memory can be seen to stay."""


@dataclass(frozen=True)
class Sample:
    """One process at one moment."""

    resident_mb: float
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Sample":
        process = psutil.Process(pid)
        with process.oneshot():
            return cls(process.memory_info().rss / 1e6, process.num_fds(), process.num_threads())


@dataclass
class Soak:
    """What happened so far. `left` counts the clients that went away in the middle."""

    answers: int = 0
    left: int = 0
    kills: int = 0
    failures: list[str] = field(default_factory=list)
    samples: dict[str, list[Sample]] = field(default_factory=dict)


async def run(cluster: ReplicatedCluster, *, minutes: float, kill_seconds: float) -> Soak:
    """Load, kills and samples side by side until the time is over."""
    soak, end = Soak(), time.monotonic() + minutes * 60
    numbers = itertools.count()
    tasks = [_ask_on(cluster.url, soak, numbers, end) for _ in range(CLIENTS)]
    await asyncio.gather(*tasks, _kill_on(cluster, soak, end, kill_seconds), _sample_on(cluster, soak, end))
    return soak


async def _ask_on(url: str, soak: Soak, numbers: "itertools.count[int]", end: float) -> None:
    while time.monotonic() < end:
        number = next(numbers)
        asking = asyncio.create_task(ask(url, f"What is {number} and {number + 1}?", max_tokens=TOKENS))
        try:
            if number % LEAVE_EVERY == 0:
                await asyncio.sleep(0.3)
                asking.cancel()
            await asking
            soak.answers += 1
        except asyncio.CancelledError:
            soak.left += 1
        except (RuntimeError, OSError) as error:
            soak.failures.append(str(error))


async def _kill_on(cluster: ReplicatedCluster, soak: Soak, end: float, kill_seconds: float) -> None:
    while kill_seconds and time.monotonic() + kill_seconds < end:
        await asyncio.sleep(kill_seconds)
        await asyncio.to_thread(cluster.kill, IS_KILLED)
        soak.kills += 1
        await asyncio.to_thread(cluster.restart, IS_KILLED)


async def _sample_on(cluster: ReplicatedCluster, soak: Soak, end: float) -> None:
    assert cluster.coordinator is not None
    watched = {"coordinator": cluster.coordinator, "worker that stays": cluster.workers[STAYS]}
    while time.monotonic() < end:
        for name, child in watched.items():
            soak.samples.setdefault(name, []).append(Sample.of(child.process.pid))
        await asyncio.sleep(SAMPLE_SECONDS)


def growth(samples: Sequence[Sample], measure: str) -> tuple[float, float, float]:
    """Medians of the second, the middle and the last tenth; the first tenth warms up."""
    values = [float(getattr(sample, measure)) for sample in samples]
    tenth = max(1, len(values) // 10)
    middle = len(values) // 2
    parts = values[tenth : 2 * tenth], values[middle : middle + tenth], values[-tenth:]
    early, half, late = (statistics.median(part) for part in parts)
    return early, half, late


def report(soak: Soak, events: str, minutes: float) -> str:
    """A Markdown table, and what was asked meanwhile."""
    lines = ["| process | measure | early | half-way | late |", "|---|---|---|---|---|"]
    for name, samples in soak.samples.items():
        for measure, told in MEASURES.items():
            early, half, late = growth(samples, measure)
            lines.append(f"| {name} | {told} | {early:.0f} | {half:.0f} | {late:.0f} |")
    lines.append(
        f"\n{minutes:g} minutes, {CLIENTS} clients: {soak.answers} answers, {soak.left} clients that left "
        f"in the middle, {soak.kills} kills of the other worker, {len(soak.failures)} failures. {events} "
        f"Medians of the second, the middle and the last tenth of the samples."
    )
    return "\n".join(lines)


def cluster_events(url: str) -> str:
    """What the coordinator counted, in words."""
    told = httpx.get(f"{url}/metrics").text
    counts = {}
    for line in told.splitlines():
        with contextlib.suppress(ValueError):
            if line.startswith("jangtq_cluster_events_total{"):
                counts[line.split('"')[1]] = int(float(line.rsplit(" ", 1)[1]))
    return f"Losses {counts['losses']}, returns {counts['returns']}, failovers {counts['failovers']}."


def main() -> int:
    """Print the table, and keep it with --write; 1 when a request failed."""
    parser = benchmark_options(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, metavar="N", help="(default: %(default)g)")
    parser.add_argument("--kill-every", type=float, default=30.0, metavar="SECONDS", help="0: never")
    given = parser.parse_args()
    with replicated_cluster(REPLICAS, ["--kv-memory", str(KV_GIB)]) as cluster:
        soak = asyncio.run(run(cluster, minutes=given.minutes, kill_seconds=given.kill_every))
        table = report(soak, cluster_events(cluster.url), given.minutes)
    publish("Soak", f"python -m benchmarks.soak --minutes {given.minutes:g}", table, write=given.write)
    for failure in soak.failures[:10]:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
