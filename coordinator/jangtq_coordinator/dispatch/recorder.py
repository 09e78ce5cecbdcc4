"""What native exchanges took: noted as it was told, and written into the books for many at once.

Noted by the thread that dispatches; whoever reads a book has it brought up to date first.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.placement import Member, Placement
from jangtq_coordinator.dispatch.exchange_library import PartStruct, Summary
from jangtq_coordinator.dispatch.exchange_memory import read_told
from jangtq_coordinator.dispatch.router import work
from jangtq_coordinator.metrics.expert_load import ExpertLoad
from jangtq_coordinator.metrics.layer_times import ExchangeTimes, LayerTimes
from jangtq_coordinator.metrics.timeline import Timeline
from jangtq_coordinator.metrics.worker_traffic import ClusterTraffic

# The first after a kernel emptied the caches costs several times as much as those after it.
_WRITTEN_AT_ONCE: Final = 16


class ExchangeRecord(NamedTuple):
    """One exchange: the stamps of ExchangeTimes, and what native code told, see ExchangeMemory.told.

    is_timed: whether its times are to be kept, or only what routing needs.
    """

    placement: Placement
    layer: int
    expert_ids: NDArray[np.int32]
    began: int
    started: int
    sent: int
    waited: int
    ended: int
    told: bytes
    is_timed: bool = True


class RecordPace(Protocol):
    """Routes.record."""

    def __call__(
        self, member: Member, rows: int, *, waited_seconds: float, compute_ns: int, cost: float
    ) -> None: ...


class Books(NamedTuple):
    """Where exchanges are written down."""

    times: LayerTimes
    timeline: Timeline
    traffic: ClusterTraffic
    load: ExpertLoad | None


class Recorder:
    """`note` an ExchangeRecord; `settle` may be called by any thread."""

    def __init__(self, books: Books, record_pace: RecordPace) -> None:
        self._books = books
        self._record_pace = record_pace
        self._entries: deque[ExchangeRecord] = deque()
        self._settling = threading.Lock()
        self.note: Callable[[ExchangeRecord], None] = self._entries.append
        for book in books:
            if book is not None:
                book.catch_up = self.settle

    def settle_many(self) -> None:
        """To be called while workers are busy."""
        if len(self._entries) >= _WRITTEN_AT_ONCE:
            self.settle()

    def settle(self) -> None:
        """Write down what was noted."""
        with self._settling:
            for _ in range(len(self._entries)):
                self._write(self._entries.popleft())

    def _write(self, entry: ExchangeRecord) -> None:
        summary, parts = read_told(entry.told)
        if entry.is_timed:
            times = _times_of(entry, summary)
            self._books.times.record(times)
            self._books.timeline.record_exchange(times)
        if self._books.load is not None:
            self._books.load.record(entry.layer, entry.expert_ids)
        free_ns = entry.waited
        for member, part in zip(entry.placement.members, parts, strict=True):
            if part.picks:
                self._write_part(member, part, free_ns)
                free_ns = part.read_ns

    def _write_part(self, member: Member, part: PartStruct, free_ns: int) -> None:
        """`free_ns` is when the coordinator began to wait for this answer."""
        self._books.traffic.record(
            member.name,
            part.picks,
            wait_ns=part.read_ns - part.sent_ns,
            worker_ns=part.queue_ns + part.compute_ns,
        )
        self._record_pace(
            member,
            part.rows,
            waited_seconds=max(0, part.read_ns - free_ns) / 1e9,
            compute_ns=part.compute_ns,
            cost=work(part.distinct, part.picks),
        )


def _times_of(entry: ExchangeRecord, summary: Summary) -> ExchangeTimes:
    return ExchangeTimes(
        entry.layer,
        len(entry.expert_ids),
        entry.began,
        entry.started,
        entry.sent,
        entry.waited,
        summary.read_ns,
        entry.ended,
        summary.decode_ns,
        summary.queue_ns,
        summary.compute_ns,
        entry.placement.members[summary.slowest].name,
    )
