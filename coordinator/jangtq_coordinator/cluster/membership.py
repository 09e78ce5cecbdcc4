"""The members of the cluster, their states, and the placement that follows. Knows no network.

Safe in any thread. The placement is swapped as a whole, so that readers need no lock.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from jangtq_coordinator.cluster.counters import ClusterCounters
from jangtq_coordinator.cluster.placement import Member, MemberState, Placement, make_placement
from jangtq_coordinator.transport.worker_info import LOCAL, WorkerInfo
from jangtq_proto.errors import ConfigurationError, CoverageError
from jangtq_proto.ranges import expert_ids, format_ranges, ranges_of
from jangtq_proto.timings import TIMINGS

_log = logging.getLogger("jangtq.cluster")


class Membership:
    """All workers serve at first. Raises WorkerMismatchError for an expert that the model does not have."""

    def __init__(self, workers: Sequence[WorkerInfo], expert_count: int) -> None:
        self.counters = ClusterCounters()
        self._expert_count = expert_count
        self._members = {worker.name: Member(worker) for worker in workers}
        self._changed = threading.Condition()
        self._placement = make_placement(list(self._members.values()), expert_count)
        self._uncovered_since: float | None = None
        self._pushed_back_at = float("-inf")

    def note_pushback(self) -> None:
        """A member refused a call because it had too many."""
        self.counters.pushbacks += 1
        self._pushed_back_at = time.monotonic()

    def is_overloaded(self) -> bool:
        """Whether a member refused a call lately, so that no new prompt should start."""
        return time.monotonic() - self._pushed_back_at < TIMINGS.overloaded

    @property
    def placement(self) -> Placement:
        return self._placement

    @property
    def members(self) -> tuple[Member, ...]:
        """All members, in any state."""
        with self._changed:
            return tuple(self._members.values())

    def member(self, name: str) -> Member | None:
        """The member of this name, if any."""
        return self._members.get(name)

    def uncovered_seconds(self) -> float:
        """How long an expert has been without a worker."""
        since = self._uncovered_since
        return 0.0 if since is None else time.monotonic() - since

    def is_lost(self, member: Member) -> bool:
        """Whether this member answers no calls any more; one that drains or leaves still answers."""
        now = self._members.get(member.name)
        return now is None or now.generation != member.generation or now.state is MemberState.LOST

    def admit(self, worker: WorkerInfo, *, asked_for: bool = False) -> bool:
        """Admit a worker, or readmit it. A drained or quarantined one returns only if `asked_for`."""
        with self._changed:
            known = self._members.get(worker.name)
            if known and known.state in (MemberState.DRAINING, MemberState.QUARANTINED) and not asked_for:
                return False
            if known and known.state in (MemberState.LEAVING, MemberState.LOST):
                self.counters.returns += 1
            self._set(Member(worker, generation=known.generation + 1 if known else 0))
            return True

    def lose(self, member: Member, reason: str) -> None:
        """A member is silent, gone or broken. Reports about an earlier generation are ignored."""
        with self._changed:
            now = self._members.get(member.name)
            if now is None or now.generation != member.generation:
                return
            if now.state is MemberState.SERVING:
                self.counters.losses += 1
            if now.state in (MemberState.SERVING, MemberState.LEAVING):
                self._set(replace(now, state=MemberState.LOST, reason=reason))

    def leave(self, member: Member) -> None:
        """A member announced that it stops: send it no calls until it is admitted again."""
        with self._changed:
            now = self._members.get(member.name)
            if now is None or now.generation != member.generation or now.state is not MemberState.SERVING:
                return
            self.counters.departures += 1
            self._set(replace(now, state=MemberState.LEAVING, reason="it is stopping"))

    def explain(self, member: Member, reason: str) -> None:
        """Update the reason of a loss; a later probe may know more than the first failure."""
        with self._changed:
            now = self._members.get(member.name)
            if now is not None and now.generation == member.generation and now.state is MemberState.LOST:
                self._members = self._members | {now.name: replace(now, reason=reason)}

    def drain(self, name: str) -> Member:
        """Send a member no more calls.

        Raises ConfigurationError, and CoverageError if no other can replace it.
        """
        with self._changed:
            member = self._known(name)
            if member.state is MemberState.SERVING:
                self._check_spared(member)
            drained = replace(member, state=MemberState.DRAINING, reason="drained on request")
            self._set(drained)
            return drained

    def quarantine(self, member: Member, reason: str) -> bool:
        """Send a member no more calls because of a wrong answer; False if no other has its experts."""
        with self._changed:
            now = self._members.get(member.name)
            if now is None or now.state is not MemberState.SERVING or now.name == LOCAL:
                return False
            if not self._placement.can_spare(now.name, expert_ids(now.info.ranges)):
                return False
            self.counters.quarantines += 1
            self._set(replace(now, state=MemberState.QUARANTINED, reason=reason))
            return True

    def check_covered(self) -> None:
        """Raise CoverageError, with the experts and the absent members, while no worker serves an expert."""
        placement = self._placement
        if placement.uncovered:
            raise CoverageError(
                f"no worker serves experts {format_ranges(placement.uncovered)}; {self.absences()}"
            )

    def absences(self) -> str:
        """The members that do not serve, and why."""
        away = [member for member in self.members if member.state is not MemberState.SERVING]
        return "; ".join(f"{member.name} is {member.state}: {member.reason}" for member in away)

    def wait_for_change(self, placement: Placement, timeout_seconds: float) -> bool:
        """Wait until the placement is another one; False after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._placement is not placement, timeout_seconds)

    def _known(self, name: str) -> Member:
        member = self._members.get(name)
        if member is None or name == LOCAL:
            names = ", ".join(known for known in self._members if known != LOCAL)
            raise ConfigurationError(f"{name} is no worker of this cluster: there are {names or 'none'}")
        return member

    def _check_spared(self, member: Member) -> None:
        alone = [
            e for e in expert_ids(member.info.ranges) if not self._placement.can_spare(member.name, (e,))
        ]
        if alone:
            raise CoverageError(
                f"worker {member.name} alone serves experts {format_ranges(ranges_of(alone))}: "
                "let another worker hold them first"
            )

    def _set(self, member: Member) -> None:
        """Call with the lock held. A member that does not fit the model changes nothing."""
        members = self._members | {member.name: member}
        placement = make_placement(list(members.values()), self._expert_count)
        self._members, self._placement = members, placement
        if not placement.uncovered:
            self._uncovered_since = None
        elif self._uncovered_since is None:
            self._uncovered_since = time.monotonic()
        self._report(member)
        self._changed.notify_all()

    def _report(self, member: Member) -> None:
        level = (
            logging.WARNING if member.state in (MemberState.LOST, MemberState.QUARANTINED) else logging.INFO
        )
        why = f": {member.reason}" if member.reason else ""
        held = format_ranges(member.info.ranges)
        _log.log(level, "worker %s with experts %s is %s%s", member.name, held, member.state, why)
        if self._placement.uncovered:
            _log.warning("no worker serves experts %s", format_ranges(self._placement.uncovered))
