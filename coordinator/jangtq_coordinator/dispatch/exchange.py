"""One layer's exchange while it is under way: what was asked, what came back, what went wrong."""

from dataclasses import dataclass, field
from typing import NamedTuple

from jangtq_coordinator.cluster.placement import Member
from jangtq_coordinator.dispatch.codec import LayerRows, Part, Reply
from jangtq_coordinator.transport.connection import Connection
from jangtq_proto.errors import ClusterError


class Asked(NamedTuple):
    """A part that a member was asked for; `sent_ns` is of perf_counter_ns."""

    part: Part
    member: Member
    connection: Connection
    sent_ns: int


class Answered(NamedTuple):
    """A part that a member answered; both stamps are of perf_counter_ns."""

    part: Part
    member: Member
    frame: bytes
    sent_ns: int
    read_ns: int


@dataclass(frozen=True)
class Failure:
    """A part that a member did not answer."""

    part: Part
    member: Member
    error: ClusterError


@dataclass(slots=True)
class Exchange:
    """`asked` are the calls whose answers are missing, `unanswered` the parts no worker is asked for now."""

    rows: LayerRows
    began_ns: int
    started_ns: int
    sent_ns: int = 0
    asked: list[Asked] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    unanswered: list[Part] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def replies(self) -> list[Reply]:
        """What was answered so far."""
        return [Reply(one.part, one.frame) for one in self.answered]

    def fail(self, failure: Failure) -> None:
        """Another worker has to be asked for this part."""
        self.failures.append(failure)
        self.unanswered.append(failure.part)
