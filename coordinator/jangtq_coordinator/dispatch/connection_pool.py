"""The connections to the members that serve, opened when first needed. Used by the thread that dispatches."""

from collections.abc import Callable

from jangtq_coordinator.cluster.placement import Member, Placement
from jangtq_coordinator.transport.connection import Connection, DirectConnection
from jangtq_proto.sockets.inbox import Inbox

OpenConnection = Callable[[Member], Connection]


class ConnectionPool:
    """One connection a member; a readmitted member gets a new one."""

    def __init__(self, open_connection: OpenConnection) -> None:
        self._open_connection = open_connection
        self._connections: dict[str, tuple[int, Connection, DirectConnection | None]] = {}

    def connection(self, member: Member) -> Connection:
        """The connection to a member, opened when first needed."""
        known = self._connections.get(member.name)
        if known is not None and known[0] == member.generation:
            return known[1]
        if known is not None:
            known[1].close()
        connection = self._open_connection(member)
        direct = connection if isinstance(connection, DirectConnection) else None
        self._connections[member.name] = (member.generation, connection, direct)
        return connection

    def opened(self, member: Member) -> tuple[Connection | None, Inbox | None]:
        """The connection to a member, and where native code may send over it; each may be missing now."""
        known = self._connections.get(member.name)
        if known is None or known[0] != member.generation:
            return None, None
        return known[1], None if known[2] is None else known[2].inbox()

    def retire(self, placement: Placement) -> None:
        """Close the connections to members that left the placement."""
        names = {member.name for member in placement.members}
        for name in [name for name in self._connections if name not in names]:
            self._connections.pop(name)[1].close()

    def abandon(self) -> None:
        """Abandon all open calls."""
        for _, connection, _ in self._connections.values():
            connection.abandon()

    def close(self) -> None:
        """Close every connection."""
        for _, connection, _ in self._connections.values():
            connection.close()
        self._connections.clear()
