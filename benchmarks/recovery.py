"""How long a running answer stands still when a worker is killed: with a replica, and without one.

Run as `python -m benchmarks.recovery [--write]`. Without a replica the clock runs from the moment at which
the restarted worker says that it is ready.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.replicated_cluster import HALVES, REPLICAS, ReplicatedCluster, replicated_cluster
from benchmarks.results import benchmark_options, publish
from benchmarks.stream_client import Timed, ask

TOKENS = 1500
IS_KILLED = 1


@dataclass(frozen=True)
class Recovery:
    """Seconds of each run."""

    name: str
    seconds: tuple[float, ...]


async def measure_with_replica(cluster: ReplicatedCluster) -> float:
    """The longest gap between two pieces of text around the kill."""
    answer, killed = await _killed_amid(cluster, restarts=False)
    gaps = zip(answer.pieces, answer.pieces[1:], strict=False)
    longest = max(later - earlier for earlier, later in gaps if later > killed)
    await asyncio.to_thread(cluster.restart, IS_KILLED)
    return longest


async def measure_alone(cluster: ReplicatedCluster) -> float:
    """From the moment that the worker is back to the next piece of text."""
    answer, back = await _killed_amid(cluster, restarts=True)
    return next(piece for piece in answer.pieces if piece > back) - back


async def _killed_amid(cluster: ReplicatedCluster, *, restarts: bool) -> tuple[Timed, float]:
    asking = asyncio.create_task(ask(cluster.url, "Explain photosynthesis.", max_tokens=TOKENS))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(cluster.kill, IS_KILLED)
    moment = time.perf_counter()
    if restarts:
        await asyncio.to_thread(cluster.restart, IS_KILLED)
        moment = time.perf_counter()
    return await asking, moment


def run(runs: int) -> list[Recovery]:
    """Both ways, each on a cluster of its own."""
    results = []
    for name, ranges, measure in (
        ("another worker has its experts", REPLICAS, measure_with_replica),
        ("nobody else has its experts", HALVES, measure_alone),
    ):
        with replicated_cluster(ranges) as cluster:
            asyncio.run(ask(cluster.url, "Hello", max_tokens=100))
            seconds = []
            for _ in range(runs):
                seconds.append(asyncio.run(measure(cluster)))
                time.sleep(3)  # a loss soon after a return is not what is measured here
        results.append(Recovery(name, tuple(seconds)))
    return results


def report(results: Sequence[Recovery]) -> str:
    """A Markdown table."""
    lines = ["| the killed worker | runs | median s | slowest s |", "|---|---|---|---|"]
    for result in results:
        ordered = sorted(result.seconds)
        median = ordered[len(ordered) // 2]
        lines.append(f"| {result.name} | {len(ordered)} | {median:.3f} | {ordered[-1]:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, and keep it with --write."""
    parser = benchmark_options(__doc__)
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="(default: %(default)s)")
    given = parser.parse_args()
    table = report(run(given.runs))
    publish("Time to recover", "python -m benchmarks.recovery", table, write=given.write)


if __name__ == "__main__":
    main()
