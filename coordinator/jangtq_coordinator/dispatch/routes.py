"""The router of the placement that holds now, and what running measurements say of its members."""

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.placement import Member
from jangtq_coordinator.dispatch.router import Router
from jangtq_coordinator.dispatch.worker_speed import WorkerSpeed

_EXCHANGES_A_SPEED = 256


class Routes:
    """Used by the thread that dispatches."""

    def __init__(self, membership: Membership, call_seconds: float) -> None:
        """`call_seconds` is the deadline of a member that nothing is known of."""
        self._membership = membership
        self._call_seconds = call_seconds
        self._paces: dict[str, WorkerSpeed] = {}
        self._exchanges = 0
        self.placement = membership.placement
        self.router = self.router_around(frozenset())

    def keep_up(self) -> None:
        """Follow the placement, and the members' speeds now and then."""
        self._exchanges += 1
        changed = self._membership.placement is not self.placement
        if changed or (self._exchanges % _EXCHANGES_A_SPEED == 0 and self.placement.has_replicas):
            self.router = self.router_around(frozenset())

    def router_around(self, avoid: frozenset[str]) -> Router:
        """A router of the newest placement that asks these members only for what nobody else holds."""
        if self._membership.placement is not self.placement:
            self.placement = self._membership.placement
            self.router = self.router_around(frozenset())
        known = [pace.seconds_per_cost for pace in self._paces.values() if pace.seconds_per_cost]
        usual = sum(known) / len(known) if known else 1.0
        members = self.placement.members
        speeds = [self._pace(member).seconds_per_cost or usual for member in members]
        positions = frozenset(i for i, member in enumerate(members) if member.name in avoid)
        return Router(self.placement, seconds_per_cost=speeds, avoid=positions)

    def record(
        self, member: Member, rows: int, *, waited_seconds: float, compute_ns: int, cost: float
    ) -> None:
        """What one answer took; `cost` is that of `routing.work`."""
        self._pace(member).record(
            rows, waited_seconds=waited_seconds, compute_seconds=compute_ns / 1e9, cost=cost
        )

    def deadline_seconds(self, member: Member, rows: int) -> float:
        """How long a member may take for a call of so many rows where somebody else could answer."""
        return self._pace(member).deadline_seconds(rows)

    def _pace(self, member: Member) -> WorkerSpeed:
        pace = self._paces.get(member.name)
        if pace is None:
            pace = self._paces[member.name] = WorkerSpeed(self._call_seconds)
        return pace
