"""How many calls each worker got, and how long its answers took, since the start and recently."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from jangtq_coordinator.metrics.layer_times import UPPER_BOUNDS_SECONDS, bucket_of

_RECENT: Final = 2048


@dataclass(frozen=True)
class RecentTimes:
    """Seconds of a worker's newest calls: medians and 99th percentiles.

    wait: from the call to the moment its answer was read, which is longer than the answer took where the
    coordinator was busy or read another one first. trip: wait less the worker's own time.
    """

    wait_p50: float
    wait_p99: float
    trip_p50: float


class WorkerTraffic:
    """Totals since the start; a pick is one row for one expert."""

    def __init__(self) -> None:
        self.calls = 0
        self.picks = 0
        self.wait_ns = 0
        self.wait_counts = [0] * (len(UPPER_BOUNDS_SECONDS) + 1)
        self._recent: deque[tuple[int, int]] = deque(maxlen=_RECENT)

    def record(self, picks: int, *, wait_ns: int, worker_ns: int) -> None:
        """One answered call; `worker_ns` is the worker's own time, as it reports."""
        self.calls += 1
        self.picks += picks
        self.wait_ns += wait_ns
        self.wait_counts[bucket_of(wait_ns)] += 1
        self._recent.append((wait_ns, worker_ns))

    def recent(self) -> RecentTimes | None:
        """None before the first call."""
        calls = np.array(self._recent.copy(), dtype=np.float64) / 1e9
        if not len(calls):
            return None
        p50, p99 = np.quantile(calls[:, 0], (0.5, 0.99)).tolist()
        return RecentTimes(p50, p99, float(np.median(np.maximum(calls[:, 0] - calls[:, 1], 0))))


class ClusterTraffic:
    """The traffic of each worker by its name, including those that left.

    The engine's thread writes, any reads.
    """

    def __init__(self) -> None:
        self._workers: dict[str, WorkerTraffic] = {}

    def record(self, worker: str, picks: int, *, wait_ns: int, worker_ns: int) -> None:
        """One answered call."""
        self.of(worker).record(picks, wait_ns=wait_ns, worker_ns=worker_ns)

    def of(self, worker: str) -> WorkerTraffic:
        """The traffic of a worker; all zero without calls."""
        known = self._workers.get(worker)
        return self._workers.setdefault(worker, WorkerTraffic()) if known is None else known

    def all(self) -> dict[str, WorkerTraffic]:
        """A copy that later calls do not change."""
        return self._workers.copy()
