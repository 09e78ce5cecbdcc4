"""Whether a cluster stays as it is under load, while its workers are killed, stopped, drained and added.

Run as `python -m benchmarks.soak [--minutes N] [--faults N] [--write]`. Clients ask without a pause, some
leave in the middle of their answer. The coordinator and the worker that is never ended are sampled, and
judged by a rule. With --faults, random faults follow each other instead, and every answer must be the
undisturbed one.
"""

import asyncio
import contextlib
import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import grpc
import httpx
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from benchmarks.replicated_cluster import REPLICAS, ReplicatedCluster, replicated_cluster
from benchmarks.results import benchmark_options, publish
from benchmarks.soak_faults import run_faults
from benchmarks.soak_samples import RULE, Rest, Sample, complaints, table
from benchmarks.stream_client import ask

CLIENTS = 8
TOKENS = 96
LEAVE_EVERY = 5
SAMPLE_SECONDS = 2.0
REST_SECONDS = 45.0
"""gRPC leaves a connection that is being made up to 20 seconds, and a busy machine makes it use them."""
IDLE_SECONDS = 12.0
"""After ten, threads of the API that were not needed end, at the next question."""
STAYS, IS_ENDED = 0, 1
KV_GIB = 0.05
"""Little, so that kept prompts fill it soon and memory can be seen to stay."""
MOST_STREAMS = 4
"""Of a worker, so that streams that nobody closes would soon be too many."""
WORKER_THREADS = MOST_STREAMS + 8
"""So many a worker starts, one by one, for what comes at the same time, and keeps."""


@dataclass
class Soak:
    """What happened so far. `left` counts the clients that went away in the middle."""

    began: float = field(default_factory=time.monotonic)
    answers: int = 0
    left: int = 0
    events: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    @property
    def hours(self) -> float:
        return (time.monotonic() - self.began) / 3600


def killed(cluster: ReplicatedCluster) -> None:
    cluster.kill(IS_ENDED)
    cluster.restart(IS_ENDED)


def stopped(cluster: ReplicatedCluster) -> None:
    cluster.terminate(IS_ENDED)
    cluster.restart(IS_ENDED)


def upgraded(cluster: ReplicatedCluster) -> None:
    cluster.drain(IS_ENDED)
    cluster.terminate(IS_ENDED)
    cluster.restart(IS_ENDED)
    cluster.admit(IS_ENDED)


def rested(cluster: ReplicatedCluster) -> None:
    """The worker that is sampled is left alone for a while, and asked again over a new stream."""
    cluster.drain(STAYS)
    time.sleep(1)
    cluster.admit(STAYS)


EVENTS: tuple[Callable[[ReplicatedCluster], None], ...] = (killed, stopped, upgraded, rested)


async def run(cluster: ReplicatedCluster, *, minutes: float, event_seconds: float) -> Soak:
    """Load, events and samples side by side until the time is over."""
    soak = Soak()
    end = soak.began + minutes * 60
    numbers = itertools.count()
    tasks = [_ask_on(cluster.url, soak, numbers, end) for _ in range(CLIENTS)]
    await asyncio.gather(
        *tasks, _disturb_on(cluster, soak, end, event_seconds), _sample_on(cluster, soak, end)
    )
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


async def _disturb_on(cluster: ReplicatedCluster, soak: Soak, end: float, event_seconds: float) -> None:
    for event in itertools.cycle(EVENTS):
        if time.monotonic() + event_seconds > end:
            return
        await asyncio.sleep(event_seconds)
        await asyncio.to_thread(event, cluster)
        soak.events[event.__name__] += 1


async def _sample_on(cluster: ReplicatedCluster, soak: Soak, end: float) -> None:
    while time.monotonic() < end:
        for name, pid in watched(cluster).items():
            soak.samples.setdefault(name, []).append(Sample.of(pid, soak.hours))
        await asyncio.sleep(SAMPLE_SECONDS)


def watched(cluster: ReplicatedCluster) -> dict[str, int]:
    """The processes that live through all of it."""
    assert cluster.coordinator is not None
    return {
        "coordinator": cluster.coordinator.process.pid,
        "worker that stays": cluster.workers[STAYS].process.pid,
    }


def at_rest(cluster: ReplicatedCluster) -> dict[str, Rest]:
    """When nothing is asked; what ends by itself has time for it."""
    samples: dict[str, list[Sample]] = {name: [] for name in watched(cluster)}
    time.sleep(IDLE_SECONDS)
    cluster_events(cluster.url)
    end = time.monotonic() + REST_SECONDS
    while time.monotonic() < end:
        for name, pid in watched(cluster).items():
            samples[name].append(Sample.of(pid))
        time.sleep(SAMPLE_SECONDS / 4)
    return {name: Rest.of(of) for name, of in samples.items()}


def report(
    soak: Soak, lines: list[str], counts: Mapping[str, int], *, minutes: float, broken: list[str]
) -> str:
    """A Markdown table, what was asked meanwhile, and what of the rule was broken."""
    events = ", ".join(f"{name} {count} times" for name, count in soak.events.items())
    counted = ", ".join(f"{counts[name]} {name}" for name in ("losses", "returns", "failovers", "retries"))
    told = (
        f"{minutes:g} minutes, {CLIENTS} clients: {soak.answers} answers, {soak.left} clients that left in "
        f"the middle, {len(soak.failures)} failures. Workers were {events or 'left alone'}; the coordinator "
        f"counted {counted}. {KV_GIB:g} GiB for KV. {RULE}"
    )
    verdict = f"Not kept: {'; '.join(broken)}." if broken else "Both were kept."
    return "\n".join([*lines, "", f"{told} {verdict}"])


def cluster_events(url: str) -> dict[str, int]:
    """What the coordinator counted, by kind."""
    counts = {}
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        with contextlib.suppress(ValueError):
            if line.startswith("jangtq_cluster_events_total{"):
                counts[line.split('"')[1]] = int(float(line.rsplit(" ", 1)[1]))
    return counts


async def warm_up(cluster: ReplicatedCluster) -> None:
    """Everything that is made once and kept is there afterwards."""
    await asyncio.gather(*(ask(cluster.url, f"Hello {i}", max_tokens=TOKENS) for i in range(CLIENTS)))
    for event in EVENTS:
        await asyncio.to_thread(event, cluster)
    await asyncio.to_thread(fill_threads, cluster.addresses[STAYS])
    await asyncio.gather(*(ask(cluster.url, f"Hello {i}", max_tokens=TOKENS) for i in range(CLIENTS)))


def fill_threads(address: str) -> None:
    """Have a worker start every thread that it may have for streams, by as many streams at the same time."""
    end = threading.Event()
    with grpc.insecure_channel(address) as channel:
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        streams = [ask(_silence(end), timeout=30) for _ in range(WORKER_THREADS)]
        time.sleep(2)
        end.set()
        for stream in streams:
            list(stream)


def _silence(until: threading.Event) -> Iterator[reflection_pb2.ServerReflectionRequest]:
    until.wait()
    yield from ()


def main() -> int:
    """Print the table, and keep it with --write; 1 when a request failed or the rule was not kept."""
    parser = benchmark_options(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, metavar="N", help="(default: %(default)g)")
    parser.add_argument("--event-every", type=float, default=30.0, metavar="SECONDS", help="(default: 30)")
    parser.add_argument("--faults", type=int, metavar="N", help="this many random faults instead of minutes")
    parser.add_argument("--transport", default="grpc", help="of --faults (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of --faults (default: %(default)s)")
    given = parser.parse_args()
    if given.faults:
        faults = run_faults(given.faults, seed=given.seed, transport=given.transport)
        command = f"python -m benchmarks.soak --faults {given.faults} --transport {given.transport}"
        publish(f"Faults over {given.transport}", command, faults.text(), write=given.write)
        for failure in faults.failures[:10]:
            print(f"failed: {failure}", file=sys.stderr)
        return 0 if faults.is_clean else 1
    options = ["--kv-memory", str(KV_GIB)], ["--max-streams", str(MOST_STREAMS)]
    with replicated_cluster(REPLICAS, *options) as cluster:
        asyncio.run(warm_up(cluster))
        before = at_rest(cluster)
        soak = asyncio.run(run(cluster, minutes=given.minutes, event_seconds=given.event_every))
        after = at_rest(cluster)
        counts = cluster_events(cluster.url)
    broken = complaints(soak.samples, before, after)
    lines = table(soak.samples, before, after)
    command = f"python -m benchmarks.soak --minutes {given.minutes:g}"
    told = report(soak, lines, counts, minutes=given.minutes, broken=broken)
    publish("Soak", command, told, write=given.write)
    for failure in soak.failures[:10]:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if broken or soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
