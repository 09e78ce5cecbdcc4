"""Exchanges of one 3072-wide float32 row with one and two workers, beside raw TCP with the same bytes.

Run as `python -m benchmarks.dispatch [--write]`. Turns are short and alternate, so that whatever else the
machine does falls on all alike, and every process has one core. Ratios are to blocking raw TCP with as many
peers in the same run, of MoE blocks also to raw TCP whose peers compute the same experts. Each number of
cores has a section of its own.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.exchange_floors import FloorPeers, bare_stream_way, raw_block_way, raw_way
from benchmarks.exchange_layouts import ALL, local_ways, replicated_ways, tls_ways
from benchmarks.exchange_ways import (
    CONNECTIONS,
    HALVES,
    HIDDEN,
    MOE_BLOCK,
    POLL_US,
    POLLING,
    RAW,
    SLOTS,
    Exchange,
    Way,
    block_dispatcher,
    block_exchange,
    block_way,
    connection_way,
    start_workers,
    write_bundle,
)
from benchmarks.placement import Placement
from benchmarks.prefill_bytes import prefill_text
from benchmarks.results import benchmark_options, cores, publish
from jangtq_coordinator.cli.demo.processes import Children
from jangtq_coordinator.transport.connection import GiveUp, never
from jangtq_proto.tls.certificates import Role
from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.wire.codec import WireCall
from jangtq_proto.wire.frames import answer_frame, read_call

TURN = 250
RECORDING_TURNS = 20
WARM_UP = 25


@dataclass(frozen=True)
class Target:
    """At most this many times the raw TCP of as many peers."""

    way: str
    peers: int
    ratio: float


TARGETS = (
    Target("gRPC over TCP", 1, 2.2),
    Target("gRPC over TCP", 2, 3.0),
    Target("express over TCP", 2, 1.3),
    Target("express over TCP, polling", 2, 0.5),
    Target("gRPC over TCP, MoE block", 2, 3.0),
    Target("express over TCP, MoE block", 2, 1.3),
    Target("express over TCP, polling, MoE block", 2, 0.5),
    *(
        Target(f"{way} over TCP, {layout}, MoE block", 2, ratio)
        for layout in ("replicas", "a local shard", "TLS")
        for way, ratio in (("gRPC", 3.0), ("express", 1.3))
    ),
)


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
    turns = [
        (way.name, peers, exchange)
        for way in ways
        for peers, exchange in enumerate(way.exchanges, start=way.first_peers)
    ]
    for _ in range(-(-exchanges // TURN)):
        for name, peers, exchange in turns:
            taken.setdefault((name, peers), []).extend(_take_turn(exchange))
    return [_summarise(name, peers, times) for (name, peers), times in taken.items()]


def _take_turn(exchange: Exchange) -> list[int]:
    times = []
    for _ in range(WARM_UP + TURN):
        started = time.perf_counter_ns()
        exchange.run()
        times.append(time.perf_counter_ns() - started)
        exchange.look()
    computed = exchange.computed() or [0] * len(times)
    return [time - less for time, less in zip(times, computed, strict=True)][WARM_UP:]


def _summarise(name: str, peers: int, times: list[int]) -> Times:
    ordered = sorted(times)
    return Times(name, peers, ordered[len(ordered) // 2] / 1000, ordered[int(len(ordered) * 0.99)] / 1000)


def run(exchanges: int, placement: Placement) -> tuple[list[Times], str]:
    """Raw sockets, workers that only echo, the same with polling, and workers with experts of zeros.

    Also the table of what a long prompt takes.
    """
    with tempfile.TemporaryDirectory() as scratch, Children() as children, ExitStack() as stack:
        bundle = write_bundle(Path(scratch))
        peers = FloorPeers(children, stack, placement)
        echoes = start_workers(children, placement, "benchmarks.echo", _echo(bundle))
        polling = start_workers(children, placement, "benchmarks.echo", _echo(bundle, poll_us=POLL_US))
        real = start_workers(children, placement, "jangtq_worker", _worker(bundle))
        real_polling = start_workers(children, placement, "jangtq_worker", _worker(bundle, poll_us=POLL_US))
        ways = [
            raw_way(peers),
            raw_way(peers, poll_us=POLL_US),
            bare_stream_way(peers),
        ]
        for workers, choices in ((echoes, CONNECTIONS), (polling, POLLING)):
            ways += [connection_way(stack, workers, choice) for choice in choices]
        ways.append(raw_block_way(peers, bundle))
        for natively in (True, False):
            for workers, choices in ((real, CONNECTIONS), (real_polling, POLLING)):
                ways += [block_way(stack, workers, choice, natively=natively) for choice in choices]
        ways += layouts(children, stack, placement, bundle, Path(scratch))
        over_tcp = [choice for choice in CONNECTIONS if not choice.unix]
        return measure(ways, exchanges), prefill_text(echoes, over_tcp)


def layouts(
    children: Children, stack: ExitStack, placement: Placement, bundle: Path, scratch: Path
) -> list[Way]:
    """Replicas, a local shard beside a worker, and TLS."""
    from tests.support.tls_folders import make_folders

    folders = make_folders(scratch / "tls")
    secured = [*_worker_options(bundle), "--tls", str(folders.worker)]
    replicas = start_workers(children, placement, "jangtq_worker", _worker(bundle), held=(ALL, ALL))
    beside = start_workers(children, placement, "jangtq_worker", _worker(bundle), held=HALVES[1:])
    behind_tls = start_workers(
        children, placement, "jangtq_worker", lambda held: [*secured, "--experts", held]
    )
    return [
        *replicated_ways(stack, replicas),
        *local_ways(stack, beside[0], bundle),
        *tls_ways(stack, behind_tls, Credentials(folders.coordinator, Role.COORDINATOR)),
    ]


class ReadyConnection:
    """Answers zeros at once."""

    def __init__(self) -> None:
        self._call: WireCall | None = None

    def send(self, call_id: int, frame: bytes) -> None:
        self._call = read_call(frame)

    def receive(self, call_id: int, give_up: GiveUp = never) -> bytes:
        assert self._call is not None
        sums = np.zeros((self._call.row_count, HIDDEN), dtype=np.int32)
        finest = np.frombuffer(self._call.exponents, dtype=np.int8)
        return answer_frame(call_id, sums, finest, queue_ns=0, compute_ns=1)

    def abandon(self) -> None:
        pass

    def close(self) -> None:
        pass


def recording_us() -> tuple[float, float]:
    """Microseconds of processor time of a block whose times are recorded, and of one without; in turns."""
    ways = [block_dispatcher([ReadyConnection(), ReadyConnection()]) for _ in range(2)]
    ways[1].records = False
    best = [float("inf")] * len(ways)
    exchanges = [block_exchange(dispatcher, peers=2) for dispatcher in ways]
    for _ in range(RECORDING_TURNS):
        for index, exchange in enumerate(exchanges):
            started = time.thread_time_ns()
            for _ in range(TURN):
                exchange()
            best[index] = min(best[index], (time.thread_time_ns() - started) / TURN / 1000)
    return best[0], best[1]


def _echo(bundle: Path, *, poll_us: int = 0) -> Callable[[str], list[str]]:
    return lambda experts: [str(bundle), experts, "--poll-us", str(poll_us)]


def _worker(bundle: Path, *, poll_us: int = 0) -> Callable[[str], list[str]]:
    options = [*_worker_options(bundle), "--poll-us", str(poll_us)]
    return lambda experts: [*options, "--experts", experts]


def _worker_options(bundle: Path) -> list[str]:
    return ["--model", str(bundle), "--listen", "127.0.0.1:0", "--threads", "1", "--stop-on-stdin-close"]


def report(results: Sequence[Times], exchanges: int, core_count: int) -> str:
    """A Markdown table, and what it was measured on."""
    medians = {(times.name, times.peers): times.median for times in results}
    wanted = {(target.way, target.peers): f"{target.ratio:g}" for target in TARGETS}
    lines = [
        "| way | peers | median us | p99 us | ratio to raw TCP | to raw TCP whose peers compute as much "
        "| wanted, at most |",
        "|---" * 7 + "|",
    ]
    for t in results:
        ratio = f"{t.median / medians[RAW, t.peers]:.2f}"
        among_blocks = f"{t.median / medians[RAW + MOE_BLOCK, t.peers]:.2f}" if MOE_BLOCK in t.name else ""
        lines.append(
            f"| {t.name} | {t.peers} | {t.median:.1f} | {t.p99:.1f} | {ratio} | {among_blocks} "
            f"| {wanted.get((t.name, t.peers), '')} |"
        )
    recorded, unrecorded = recording_us()
    load = psutil.getloadavg()[0] / core_count
    lines.append(
        f"\n{exchanges} exchanges each, in turns of {TURN}. MoE block: time of the block less the slower "
        f"peer's kernel; {SLOTS} experts of one row, shared by the peers. Every process has one core: we the "
        f"first, peers the next, and the first again where there are too few. Polling {POLL_US} us. "
        f"Load at the end: {load:.1f} a core, our own included.\n\n"
        f"A block over connections that answer at once takes {recorded:.1f} us of processor time, and "
        f"{unrecorded:.1f} us where its times are not recorded."
    )
    return "\n".join(lines)


def main() -> None:
    """Print the table, and keep it with --write."""
    parser = benchmark_options(__doc__)
    parser.add_argument("--exchanges", type=int, default=5000, metavar="N", help="(default: %(default)s)")
    given = parser.parse_args()
    core_count = cores()
    times, prefill = run(given.exchanges, Placement())
    table = f"{report(times, given.exchanges, core_count)}\n\n{prefill}"
    title = f"Exchange of one row, {core_count} cores"
    publish(title, "python -m benchmarks.dispatch", table, write=given.write)


if __name__ == "__main__":
    main()
