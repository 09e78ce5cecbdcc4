"""The state of one layer's exchange: calls sent, answers received, failures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.placement import Member
from jangtq_coordinator.dispatch.codec import LayerRows, Part, Reply, Sums
from jangtq_coordinator.metrics.recorder import CallRecord
from jangtq_coordinator.transport.connection import Connection
from jangtq_proto.errors import ClusterError


class Asked(NamedTuple):
    """A part that was sent to a member; `sent_ns` is of perf_counter_ns."""

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


class ExchangeSums(NamedTuple):
    """An exchange that ended. values: float32 [rows, hidden]. calls: makes the records of its calls.

    decode_ns: nanoseconds in which answers were checked; read_ns: the time.perf_counter_ns after that.
    """

    values: NDArray[np.float32]
    calls: Callable[[], tuple[CallRecord, ...]]
    decode_ns: int
    read_ns: int


@dataclass(slots=True)
class Exchange:
    """`asked` are calls without an answer yet, `unanswered` parts that are not sent to any worker now."""

    rows: LayerRows
    began_ns: int
    started_ns: int
    sent_ns: int = 0
    asked: list[Asked] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    unanswered: list[Part] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def layer(self) -> int:
        return self.rows.layer

    @property
    def expert_ids(self) -> NDArray[np.int32]:
        """int32 [rows, slots]."""
        return self.rows.expert_ids

    def replies(self) -> list[Reply]:
        """The replies so far."""
        return [Reply(one.part, one.frame) for one in self.answered]

    def records(self, sums: Sums) -> tuple[CallRecord, ...]:
        """The records of the calls that gave these sums."""
        return tuple(
            CallRecord(member.name, part.row_count, part.picks, part.distinct, sent_ns, read_ns, *times)
            for (part, member, _, sent_ns, read_ns), times in zip(self.answered, sums.times, strict=True)
        )

    def fail(self, failure: Failure) -> None:
        """Record a failure; its part has to go to another worker."""
        self.failures.append(failure)
        self.unanswered.append(failure.part)
