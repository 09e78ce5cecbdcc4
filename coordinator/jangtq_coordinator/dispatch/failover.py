"""What follows from a part without an answer: which workers may get it next, or that none can.

Knows no connections.
"""

import time
from collections import Counter
from collections.abc import Iterable

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.placement import Member, Placement
from jangtq_coordinator.dispatch.codec import Part
from jangtq_coordinator.dispatch.exchange import Exchange, Failure
from jangtq_coordinator.readiness import Readiness
from jangtq_proto.errors import (
    CallRejectedError,
    CoverageError,
    WorkerBusyError,
    WorkerMismatchError,
    WorkerUnreachableError,
)
from jangtq_proto.ranges import format_ranges

_GONE = (WorkerUnreachableError, WorkerMismatchError)
_MOST_FAULTS = 3
_MOST_LOSSES = 4
_MOST_STRIKES = 3
_STRIKE_SECONDS = 600.0
_BUSY_PAUSE_SECONDS = 0.01
_LONGEST_BUSY_PAUSE_SECONDS = 0.5
_WAIT_SLICE_SECONDS = 0.1


class Failover:
    """Judges failures, one exchange after the other. Used by the thread that dispatches."""

    def __init__(
        self,
        membership: Membership,
        *,
        readiness: Readiness,
        worker_timeout_seconds: float,
        busy_seconds: float,
    ) -> None:
        self._membership = membership
        self._readiness = readiness
        self._worker_timeout_seconds = worker_timeout_seconds
        self._busy_seconds = busy_seconds
        self._strikes: dict[str, list[float]] = {}

    def judge(self, failure: Failure) -> None:
        """Update the member's state after a failure."""
        if isinstance(failure.error, _GONE):
            self._membership.lose(failure.member, str(failure.error))
        elif isinstance(failure.error, WorkerBusyError):
            self._membership.note_pushback()
        else:
            self._membership.counters.faults += 1

    def to_avoid(self, exchange: Exchange) -> frozenset[str]:
        """Members that get experts only if no other holds them.

        Waits if such a member must be asked again. Raises the last error after enough attempts.
        """
        failures = [failure for failure in exchange.failures if not isinstance(failure.error, _GONE)]
        self._check_faults(failures)
        self._wait_for_room(exchange, failures)
        return frozenset(failure.member.name for failure in failures)

    def wait_for_workers(self, exchange: Exchange) -> None:
        """Wait until the placement covers the missing experts. Raises CoverageError after the worker timeout.

        Raises the last error if too many workers were lost during this exchange.
        """
        _check_losses(exchange.failures)
        placement = self._membership.placement
        if _covers(placement, exchange.unanswered):
            return
        self._membership.counters.pauses += 1
        started = time.monotonic()
        try:
            while not _covers(placement, exchange.unanswered):
                self._check_patience(placement)
                self._readiness.check_waiting()
                self._membership.wait_for_change(placement, _WAIT_SLICE_SECONDS)
                placement = self._membership.placement
        finally:
            self._membership.counters.paused_seconds += time.monotonic() - started

    def finish(self, exchange: Exchange) -> None:
        """The exchange succeeded: faults were those of members, not of the call."""
        for failure in exchange.failures:
            if not isinstance(failure.error, (*_GONE, WorkerBusyError)):
                self.strike(failure.member, str(failure.error))

    def strike(self, member: Member, reason: str) -> None:
        """Count a proven wrong answer; quarantine the member after several."""
        now = time.monotonic()
        recent = [t for t in self._strikes.get(member.name, []) if now - t < _STRIKE_SECONDS] + [now]
        self._strikes[member.name] = recent
        if len(recent) >= _MOST_STRIKES and self._membership.quarantine(member, reason):
            del self._strikes[member.name]

    def _check_faults(self, failures: list[Failure]) -> None:
        faults = Counter(f.member.name for f in failures if not isinstance(f.error, WorkerBusyError))
        for failure in reversed(failures):
            most = 1 if isinstance(failure.error, CallRejectedError) else _MOST_FAULTS
            if faults[failure.member.name] >= most and not self._has_other_workers(failure, faults, most):
                raise failure.error

    def _has_other_workers(self, failure: Failure, faults: Counter[str], most: int) -> bool:
        """Whether another member, with fewer failures, holds each expert of the part."""
        placement = self._membership.placement
        hopeful = {position for position, m in enumerate(placement.members) if faults[m.name] < most}
        return all(
            not placement.workers_of[expert] or hopeful.intersection(placement.workers_of[expert])
            for expert in failure.part.own_experts()
        )

    def _wait_for_room(self, exchange: Exchange, failures: list[Failure]) -> None:
        """Pause before an overloaded member is asked again, if no other holds its experts."""
        busy = [failure for failure in failures if isinstance(failure.error, WorkerBusyError)]
        if not busy:
            return
        full = Counter(failure.member.name for failure in busy)
        if all(self._has_other_workers(failure, full, 1) for failure in busy):
            return
        waited = (time.perf_counter_ns() - exchange.started_ns) / 1e9
        if waited > self._busy_seconds:
            raise busy[-1].error
        self._readiness.check_waiting()
        time.sleep(min(_BUSY_PAUSE_SECONDS * 2 ** min(len(busy), 10), _LONGEST_BUSY_PAUSE_SECONDS))

    def _check_patience(self, placement: Placement) -> None:
        if self._membership.uncovered_seconds() <= self._worker_timeout_seconds:
            return
        raise CoverageError(
            f"experts {format_ranges(placement.uncovered)} had no worker for more than "
            f"{self._worker_timeout_seconds:g} s; {self._membership.absences()}"
        )


def _check_losses(failures: list[Failure]) -> None:
    """Raise the last error if the call lost too many workers: it may crash each worker that gets it."""
    gone = Counter(failure.member.name for failure in failures if isinstance(failure.error, _GONE))
    if gone and max(gone.values()) >= _MOST_LOSSES:
        raise failures[-1].error


def _experts(parts: Iterable[Part]) -> set[int]:
    return set().union(*(part.own_experts() for part in parts))


def _covers(placement: Placement, parts: Iterable[Part]) -> bool:
    return not placement.uncovered or all(placement.workers_of[expert] for expert in _experts(parts))
