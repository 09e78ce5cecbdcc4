"""One exchange that native code asked, and what it tells of every worker."""

from collections.abc import Iterator
from typing import NamedTuple

from jangtq_coordinator.cluster.placement import Placement
from jangtq_coordinator.dispatch.exchange_library import PartStruct
from jangtq_coordinator.dispatch.exchange_memory import AskedRows, ExchangeMemory
from jangtq_coordinator.dispatch.router import Router
from jangtq_coordinator.transport.express_connection import ExpressConnection
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_coordinator.transport.grpc_stream import ExpertStream
from jangtq_proto.errors import ClusterError
from jangtq_proto.sockets.frame_socket import FrameSocket
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.row_type import RowType


class Ways(NamedTuple):
    """The ways to those members of a placement that can be asked natively, by position, as they are now.

    row_type: how all of them send rows; where there are none, float32. secured: connections of `streams`
    that may have to be opened anew, for other certificates.
    """

    router: Router
    placement: Placement
    row_type: RowType = RowType.FLOAT32
    sockets: tuple[tuple[int, ExpressConnection, FrameSocket], ...] = ()
    streams: tuple[tuple[int, GrpcConnection, ExpertStream], ...] = ()
    secured: tuple[GrpcConnection, ...] = ()

    def all(self) -> Iterator[tuple[int, ExpressConnection | GrpcConnection, FrameSocket | ExpertStream]]:
        """Sockets first."""
        yield from self.sockets
        yield from self.streams


class NativeCall:
    """The same id at each worker of a picked expert.

    is_sent: whether every socket took its frame, and every stream its message. is_told: whether the
    connections know of it. replies: the messages of streams, by position. failures: of streams that broke.
    told: what an exchange took whose answers are all there, see ExchangeMemory.told; read_ns: of the last.
    """

    def __init__(
        self, asked: AskedRows, memory: ExchangeMemory, ways: Ways, call_id: int, *, is_sent: bool
    ) -> None:
        self.asked = asked
        self.memory = memory
        self.ways = ways
        self.call_id = call_id
        self.is_sent = is_sent
        self.is_told = False
        self.replies: dict[int, bytes] = {}
        self.failures: dict[int, ClusterError] = {}
        self.told = b""
        self.read_ns = 0

    def part(self, position: int) -> PartStruct:
        """What was done with one member of the placement."""
        return self.memory.part(position)

    def whole(self) -> LayerCall:
        """Everything that is asked, with the grids that were chosen."""
        asked = self.asked
        exponents = self.memory.exponents(len(asked.rows))
        return LayerCall(
            asked.layer, asked.rows, asked.expert_ids, asked.router_weights, exponents, asked.prefill
        )

    def connection(self, position: int) -> ExpressConnection | GrpcConnection:
        """The way to a member that was asked."""
        return next(connection for place, connection, _ in self.ways.all() if place == position)

    def fail(self, position: int, error: ClusterError) -> None:
        """The stream to a member broke."""
        self.failures[position] = error
        self.is_sent = False

    def failure(self, position: int) -> ClusterError | None:
        """How it broke, if it did."""
        return self.failures.get(position)

    def tell_connections(self) -> None:
        """Let the connections know of the calls that are on their way."""
        self.is_told = True
        hidden = self.asked.rows.shape[1]
        for position, connection, frames in self.ways.sockets:
            part = self.part(position)
            if part.picks and part.is_sent and connection.carries(frames):
                connection.begin_call(self.call_id, (part.rows, hidden))
        for position, control, stream in self.ways.streams:
            part = self.part(position)
            if part.picks and control.carries(stream):
                control.begin_call(self.call_id, (part.rows, hidden))

    def can_be_read(self) -> bool:
        """Whether all connections are those that were asked, and nothing was read of these answers."""
        for position, connection, frames in self.ways.sockets:
            if self.memory.picks(position) and not connection.reads_next(frames, self.call_id):
                return False
        for position, control, stream in self.ways.streams:
            if self.memory.picks(position) and not control.reads_next(stream, self.call_id):
                return False
        return True

    def end(self) -> None:
        """All answers were read of a call that the connections know of."""
        for position, connection, _ in self.ways.all():
            if self.memory.picks(position):
                connection.end_call(self.call_id)
