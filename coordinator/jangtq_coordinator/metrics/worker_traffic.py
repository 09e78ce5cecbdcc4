"""How much each worker was asked, and how long its answers took, since the start and lately."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from jangtq_coordinator.metrics.layer_times import UPPER_BOUNDS_SECONDS, bucket_of, nothing_to_catch_up

_RECENT: Final = 2048
_COUNTED_AT_ONCE: Final = 64


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
        """One answered call; `worker_ns` is what the worker says of its own time."""
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


class AnsweredCall(NamedTuple):
    """What one call to a worker took; `worker_ns` is what the worker says of its own time."""

    worker: str
    picks: int
    wait_ns: int
    worker_ns: int


class ClusterTraffic:
    """Of each worker by its name, also of those that left. Written by the engine's thread, read by any."""

    def __init__(self) -> None:
        self._workers: dict[str, WorkerTraffic] = {}
        self._uncounted: deque[AnsweredCall] = deque()
        self.catch_up: Callable[[], None] = nothing_to_catch_up
        self._counting = threading.Lock()

    def record(self, worker: str, picks: int, *, wait_ns: int, worker_ns: int) -> None:
        """One answered call; counting many at once costs a fraction of counting each by itself."""
        self._uncounted.append(AnsweredCall(worker, picks, wait_ns, worker_ns))
        if len(self._uncounted) >= _COUNTED_AT_ONCE:
            self._count()

    def of(self, worker: str) -> WorkerTraffic:
        """Of one that was never asked all is zero."""
        self.catch_up()
        self._count()
        return self._of(worker)

    def all(self) -> dict[str, WorkerTraffic]:
        """A copy that stays as it is when others are asked."""
        self.catch_up()
        self._count()
        return self._workers.copy()

    def _of(self, worker: str) -> WorkerTraffic:
        known = self._workers.get(worker)
        return self._workers.setdefault(worker, WorkerTraffic()) if known is None else known

    def _count(self) -> None:
        with self._counting:
            for _ in range(len(self._uncounted)):
                call = self._uncounted.popleft()
                self._of(call.worker).record(call.picks, wait_ns=call.wait_ns, worker_ns=call.worker_ns)
