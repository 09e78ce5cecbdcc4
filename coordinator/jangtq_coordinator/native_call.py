"""One exchange that native code asked, and what it tells of every holder."""

from collections.abc import Iterator

from jangtq_coordinator.exchange_library import Part, Summary
from jangtq_coordinator.exchange_memory import ExchangeMemory
from jangtq_coordinator.expert_stream import ExpertStream
from jangtq_coordinator.express_lane import ExpressLane
from jangtq_coordinator.grpc_lane import GrpcLane
from jangtq_coordinator.plan import Member, Plan
from jangtq_coordinator.routing import Router
from jangtq_coordinator.traffic import AnsweredCall
from jangtq_proto.errors import ClusterError
from jangtq_proto.frame_socket import FrameSocket


class NativeCall:
    """The same id at each holder of a picked expert.

    parts: the members of a Part for every member of the plan. lanes, streams: the ways to those that were
    asked, by position. failures: of streams that broke. summary: set once all answers are there. is_sent:
    whether every socket took its frame, and every stream its message.
    """

    def __init__(
        self, memory: ExchangeMemory, router: Router, plan: Plan, call_id: int, *, is_sent: bool
    ) -> None:
        self.memory = memory
        self.router = router
        self.plan = plan
        self.call_id = call_id
        self.is_sent = is_sent
        self.parts = memory.parts()
        self.lanes: dict[int, tuple[ExpressLane, FrameSocket]] = {}
        self.streams: dict[int, tuple[GrpcLane, ExpertStream]] = {}
        self.failures: dict[int, ClusterError] = {}
        self.summary: Summary | None = None

    def part(self, position: int) -> Part:
        """What was done with one member of the plan."""
        return Part(*self.parts[position])

    def lane(self, position: int) -> ExpressLane | GrpcLane:
        """The way to a member that was asked."""
        return self.lanes[position][0] if position in self.lanes else self.streams[position][0]

    def fail(self, position: int, error: ClusterError) -> None:
        """The stream to a member broke."""
        self.failures[position] = error
        self.is_sent = False

    def can_be_read(self) -> bool:
        """Whether all connections are those that were asked, and nothing was read of these answers."""
        for lane, frames in self.lanes.values():
            if lane.plain_frames is not frames or not lane.awaits_next(self.call_id):
                return False
        return all(
            lane.plain_stream is stream and lane.awaits_next(self.call_id)
            for lane, stream in self.streams.values()
        )

    def asked(self) -> Iterator[tuple[Member, Part]]:
        """Who was asked, in the order in which answers are read."""
        for position in sorted([*self.lanes, *self.streams]):
            yield self.plan.members[position], self.part(position)

    def answered(self) -> Iterator[AnsweredCall]:
        """What each answer took."""
        for member, part in self.asked():
            wait_ns = part.read_ns - part.sent_ns
            yield AnsweredCall(member.name, part.picks, wait_ns, part.queue_ns + part.compute_ns)
