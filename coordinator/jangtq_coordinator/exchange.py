"""One layer's exchange while it is under way: what was asked of whom, and what went wrong so far."""

import time
from dataclasses import dataclass, field

from jangtq_coordinator.lane import Lane, LayerAnswer, LayerCall
from jangtq_coordinator.plan import Member
from jangtq_coordinator.routing import HolderRows
from jangtq_coordinator.timing import ExchangeTimes
from jangtq_proto.codec import Rows
from jangtq_proto.errors import ClusterError


@dataclass(frozen=True)
class Asked:
    """A part that a member was asked for, under a call id of its lane."""

    part: HolderRows
    member: Member
    lane: Lane
    call_id: int


@dataclass(frozen=True)
class Answered:
    """A part that a member answered."""

    part: HolderRows
    member: Member
    answer: LayerAnswer


@dataclass(frozen=True)
class Failure:
    """A part that a member did not answer."""

    part: HolderRows
    member: Member
    error: ClusterError


@dataclass
class Exchange:
    """`asked` are the calls whose answers are missing, `unanswered` the parts nobody is asked for now."""

    layer: int
    rows: Rows
    began_ns: int
    started_ns: int
    sent_ns: int = 0
    asked: list[Asked] = field(default_factory=list)
    unanswered: list[HolderRows] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def call(self, part: HolderRows) -> LayerCall:
        """The message for a part."""
        rows = self.rows if part.row_index is None else self.rows[part.row_index]
        return LayerCall(self.layer, rows, part.expert_ids, part.router_weights)

    def fail(self, failure: Failure) -> None:
        """Somebody else has to be asked for this part."""
        self.failures.append(failure)
        self.unanswered.append(failure.part)


def times_of(exchange: Exchange, answered: list[Answered], *, waited_ns: int, read_ns: int) -> ExchangeTimes:
    """Where the time of an exchange went that ends now; both stamps are of time.perf_counter_ns."""
    slowest = max(answered, key=lambda one: one.answer.queue_ns + one.answer.compute_ns)
    return ExchangeTimes(
        exchange.layer,
        exchange.rows.shape[0],
        began=exchange.began_ns,
        started=exchange.started_ns,
        sent=exchange.sent_ns,
        waited=waited_ns,
        read=read_ns,
        ended=time.perf_counter_ns(),
        decode=sum(one.answer.decode_ns for one in answered),
        queue=slowest.answer.queue_ns,
        compute=slowest.answer.compute_ns,
        slowest_holder=slowest.member.name,
    )
