"""Samples of processes over time, and by what rule they count as staying as they are. Starts nothing."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

MOST_MB_AN_HOUR: Final = 10.0
JUDGED_HOURS: Final = 0.45
"""Shorter runs say nothing of megabytes an hour: in their first minutes kept prompts fill `--kv-memory`, and
the history that traces are made of fills, 32,768 exchanges in 16 MB."""
RULE: Final = (
    "At rest, after the load, each process must have no more files, connections and threads (but for those "
    "of gRPC's own pools) than before it; under load, the second half's trend must stay below "
    f"{MOST_MB_AN_HOUR:g} MB an hour, and the last tenth within {MOST_MB_AN_HOUR:g} MB of the tenth after "
    "the first quarter, in which caches fill."
)
_GRPC_POOLS: Final = {"event_engine", "grpc_global_tim", "lifeguard"}
"""gRPC starts threads when it has much to do, and ends those that were idle for 20 seconds (kIdleThreadLimit
of its WorkStealingThreadPool). How many a cluster at rest keeps is a matter of the moment."""


@dataclass(frozen=True)
class Sample:
    """One process at one moment; `hours` since the load began."""

    hours: float
    resident_mb: float
    files: int
    connections: int
    threads: int

    @classmethod
    def of(cls, pid: int, hours: float = 0.0) -> "Sample":
        process = psutil.Process(pid)
        with process.oneshot():
            return cls(
                hours,
                process.memory_info().rss / 1e6,
                process.num_fds(),
                len(process.net_connections("all")),
                thread_count(pid),
            )


def thread_count(pid: int, processes: Path = Path("/proc")) -> int:
    """Threads of a process but those of gRPC's own pools; all where the system does not tell their names."""
    names = [path.read_text().strip() for path in (processes / str(pid) / "task").glob("*/comm")]
    return sum(name not in _GRPC_POOLS for name in names) or psutil.Process(pid).num_threads()


@dataclass(frozen=True)
class Rest:
    """The least of what a process had open at rest: a connection that just ended may still be counted."""

    files: int
    connections: int
    threads: int

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Rest":
        return cls(
            min(sample.files for sample in samples),
            min(sample.connections for sample in samples),
            min(sample.threads for sample in samples),
        )


@dataclass(frozen=True)
class Course:
    """Medians of resident MB of three tenths of a run, and the second half's trend, in MB an hour."""

    after_quarter: float
    half_way: float
    end: float
    trend: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Course":
        """Of at least two samples."""
        count = len(samples)
        tenth = max(1, count // 10)
        quarter, half, end = (
            statistics.median(sample.resident_mb for sample in samples[start : start + tenth])
            for start in (count // 4, count // 2, count - tenth)
        )
        second = samples[count // 2 - 1 :]
        hours, values = [sample.hours for sample in second], [sample.resident_mb for sample in second]
        return cls(quarter, half, end, trend=float(np.polyfit(hours, values, 1)[0]))


def complaints(
    samples: Mapping[str, Sequence[Sample]], before: Mapping[str, Rest], after: Mapping[str, Rest]
) -> list[str]:
    """What does not keep the rule, in words."""
    found = []
    for name, start in before.items():
        for what in ("files", "connections", "threads"):
            had, has = getattr(start, what), getattr(after[name], what)
            if has > had:
                found.append(f"{name}: {has} {what} at rest, {had} before")
    for name, course in ((name, Course.of(of)) for name, of in samples.items()):
        if samples[name][-1].hours < JUDGED_HOURS:
            continue
        if course.trend > MOST_MB_AN_HOUR:
            found.append(f"{name}: grows by {course.trend:.1f} MB an hour")
        if course.end - course.after_quarter > MOST_MB_AN_HOUR:
            found.append(f"{name}: {course.end:.0f} MB at the end, {course.after_quarter:.0f} at a quarter")
    return found


def table(
    samples: Mapping[str, Sequence[Sample]], before: Mapping[str, Rest], after: Mapping[str, Rest]
) -> list[str]:
    """Markdown lines."""
    lines = [
        "| process | resident MB after a quarter | half-way | end | trend MB/hour "
        "| files at rest, before and after | connections | threads |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, course in ((name, Course.of(of)) for name, of in samples.items()):
        was, now = before[name], after[name]
        lines.append(
            f"| {name} | {course.after_quarter:.0f} | {course.half_way:.0f} | {course.end:.0f} "
            f"| {course.trend:+.1f} | {was.files}, {now.files} | {was.connections}, {now.connections} "
            f"| {was.threads}, {now.threads} |"
        )
    return lines
