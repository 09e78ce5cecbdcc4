"""The router of the current placement, and the measured speed of its members."""

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.placement import Member
from jangtq_coordinator.dispatch.router import Router, work
from jangtq_coordinator.dispatch.worker_speed import WorkerSpeed
from jangtq_coordinator.metrics.recorder import CallRecord

_EXCHANGES_A_SPEED = 256


class Routes:
    """Used by the thread that dispatches; `record` by any."""

    def __init__(self, membership: Membership, call_seconds: float) -> None:
        """`call_seconds` is the deadline of a member without measurements."""
        self._membership = membership
        self._call_seconds = call_seconds
        self._speeds: dict[str, WorkerSpeed] = {}
        self._exchanges = 0
        self.placement = membership.placement
        self.router = self.router_around(frozenset())

    def keep_up(self) -> None:
        """Follow the placement, and from time to time the members' speeds."""
        self._exchanges += 1
        changed = self._membership.placement is not self.placement
        if changed or (self._exchanges % _EXCHANGES_A_SPEED == 0 and self.placement.has_replicas):
            self.router = self.router_around(frozenset())

    def router_around(self, avoid: frozenset[str]) -> Router:
        """A router of the newest placement that gives these members only experts that no other holds."""
        if self._membership.placement is not self.placement:
            self.placement = self._membership.placement
            self.router = self.router_around(frozenset())
        known = [s.seconds_per_cost for s in tuple(self._speeds.values()) if s.seconds_per_cost]
        usual = sum(known) / len(known) if known else 1.0
        members = self.placement.members
        speeds = [self._speed(member.name).seconds_per_cost or usual for member in members]
        positions = frozenset(i for i, member in enumerate(members) if member.name in avoid)
        return Router(self.placement, seconds_per_cost=speeds, avoid=positions)

    def record(self, call: CallRecord, waited_seconds: float) -> None:
        """Add the times of one answer."""
        self._speed(call.worker).record(
            call.row_count,
            waited_seconds=waited_seconds,
            compute_seconds=call.compute_ns / 1e9,
            cost=work(call.distinct, call.picks),
        )

    def deadline_seconds(self, member: Member, rows: int) -> float:
        """How long a member may take for a call of so many rows if another member could answer it."""
        return self._speed(member.name).deadline_seconds(rows)

    def _speed(self, worker: str) -> WorkerSpeed:
        known = self._speeds.get(worker)
        if known is None:
            known = self._speeds[worker] = WorkerSpeed(self._call_seconds)
        return known
