"""Records exchanges as they end, and counts them when a reader asks, or when there are many.

The thread that dispatches records; any thread reads.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.metrics.expert_load import ExpertLoad
from jangtq_coordinator.metrics.layer_times import ExchangeTimes, LayerTimes
from jangtq_coordinator.metrics.timeline import Timeline
from jangtq_coordinator.metrics.worker_traffic import ClusterTraffic

_COUNTED_AT_ONCE: Final = 64
"""The number of records that are counted at once; it takes about half a millisecond, while workers compute.
"""
_MOST_ROWS: Final = 1 << 12
"""The most expert ids that are kept: those of a prompt take memory, and counting them is short beside the
prompt.
"""


class CallRecord(NamedTuple):
    """One answered call: what was asked, stamps of time.perf_counter_ns, and the worker's own times."""

    worker: str
    row_count: int
    picks: int
    distinct: int
    sent_ns: int
    read_ns: int
    queue_ns: int
    compute_ns: int


class ExchangeRecord(NamedTuple):
    """One exchange with the stamps of ExchangeTimes; expert_ids: int32 [rows, slots].

    calls: makes the records of its calls when they are counted. is_timed: whether its times are kept, too.
    """

    layer: int
    expert_ids: NDArray[np.int32]
    began: int
    started: int
    sent: int
    waited: int
    read: int
    ended: int
    decode: int
    calls: Callable[[], tuple[CallRecord, ...]]
    is_timed: bool = True


class Recorder:
    """`on_call` gets each answered call and the seconds that the coordinator waited for it alone."""

    def __init__(
        self, layer_count: int, expert_count: int, on_call: Callable[[CallRecord, float], object]
    ) -> None:
        self._times = LayerTimes(layer_count)
        self._traffic = ClusterTraffic()
        self._load = ExpertLoad(layer_count, expert_count)
        self._on_call = on_call
        self.timeline = Timeline(before_copy=self.flush)
        self._noted: deque[ExchangeRecord] = deque()
        self._rows = 0
        self._counting = threading.Lock()

    @property
    def times(self) -> LayerTimes:
        """Up to date."""
        self.flush()
        return self._times

    @property
    def traffic(self) -> ClusterTraffic:
        """Up to date."""
        self.flush()
        return self._traffic

    @property
    def load(self) -> ExpertLoad:
        """Up to date."""
        self.flush()
        return self._load

    def note(self, record: ExchangeRecord) -> None:
        """Add an exchange that ended."""
        self._rows += len(record.expert_ids)
        self._noted.append(record)

    def flush_many(self) -> None:
        """Count if there are many; call it while workers are busy."""
        if len(self._noted) >= _COUNTED_AT_ONCE or self._rows > _MOST_ROWS:
            self._rows = 0
            self.flush()

    def flush(self) -> None:
        """Count all records."""
        with self._counting:
            for _ in range(len(self._noted)):
                self._count(self._noted.popleft())

    def _count(self, record: ExchangeRecord) -> None:
        calls = record.calls()
        if record.is_timed and calls:
            times = _times_of(record, calls)
            self._times.record(times)
            self.timeline.record_exchange(times)
        self._load.record(record.layer, record.expert_ids)
        free_ns = record.waited
        for call in calls:
            worker_ns = call.queue_ns + call.compute_ns
            self._traffic.record(
                call.worker, call.picks, wait_ns=call.read_ns - call.sent_ns, worker_ns=worker_ns
            )
            self._on_call(call, max(0, call.read_ns - free_ns) / 1e9)
            free_ns = max(free_ns, call.read_ns)


def _times_of(record: ExchangeRecord, calls: tuple[CallRecord, ...]) -> ExchangeTimes:
    slowest = max(calls, key=lambda call: call.queue_ns + call.compute_ns)
    return ExchangeTimes(
        record.layer,
        len(record.expert_ids),
        record.began,
        record.started,
        record.sent,
        record.waited,
        record.read,
        record.ended,
        record.decode,
        slowest.queue_ns,
        slowest.compute_ns,
        slowest.worker,
    )
