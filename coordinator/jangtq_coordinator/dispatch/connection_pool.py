"""The lanes to the members that serve, opened when first needed. Used by the thread that dispatches."""

from collections.abc import Callable

from jangtq_coordinator.cluster.placement import Member, Placement
from jangtq_coordinator.transport.connection import Connection

OpenConnection = Callable[[Member], Connection]


class ConnectionPool:
    """One lane a member; a member that was let in again gets a new one."""

    def __init__(self, open_lane: OpenConnection) -> None:
        self._open_lane = open_lane
        self._lanes: dict[str, tuple[int, Connection]] = {}

    def lane(self, member: Member) -> Connection:
        """The lane to a member, the same for as long as it stays."""
        known = self._lanes.get(member.name)
        if known is not None and known[0] == member.generation:
            return known[1]
        if known is not None:
            known[1].close()
        lane = self._open_lane(member)
        self._lanes[member.name] = (member.generation, lane)
        return lane

    def known(self, member: Member) -> Connection | None:
        """The lane to a member where it was needed already."""
        known = self._lanes.get(member.name)
        return known[1] if known is not None and known[0] == member.generation else None

    def retire(self, plan: Placement) -> None:
        """Close the lanes to whoever is not in the plan."""
        names = {member.name for member in plan.members}
        for name in [name for name in self._lanes if name not in names]:
            self._lanes.pop(name)[1].close()

    def abandon(self) -> None:
        """Give up all calls under way."""
        for _, lane in self._lanes.values():
            lane.abandon()

    def close(self) -> None:
        """Close every lane."""
        for _, lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
