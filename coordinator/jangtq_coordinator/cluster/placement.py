"""Which members serve each expert at one moment. Immutable, and knows no network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from jangtq_coordinator.transport.worker_info import WorkerInfo
from jangtq_proto.errors import CoverageError, WorkerMismatchError
from jangtq_proto.ranges import ExpertRange, expert_ids, format_ranges, ranges_of


class MemberState(StrEnum):
    """Only SERVING members get calls. A LEAVING or LOST one is admitted again when it is back."""

    SERVING = "serving"
    LEAVING = "leaving"
    LOST = "lost"
    DRAINING = "draining"
    QUARANTINED = "quarantined"


@dataclass(frozen=True)
class Member:
    """A worker of the cluster. `generation` counts its admissions: connections of older ones are stale."""

    info: WorkerInfo
    generation: int = 0
    state: MemberState = MemberState.SERVING
    reason: str = ""

    @cached_property
    def name(self) -> str:
        return self.info.name


@dataclass(frozen=True)
class Placement:
    """The members that serve, in order, and for each expert the positions of those that hold it."""

    members: tuple[Member, ...]
    workers_of: tuple[tuple[int, ...], ...]

    @cached_property
    def uncovered(self) -> tuple[ExpertRange, ...]:
        """Experts that no member serves."""
        return ranges_of(expert for expert, workers in enumerate(self.workers_of) if not workers)

    @cached_property
    def has_replicas(self) -> bool:
        """Whether several members hold some expert."""
        return any(len(workers) > 1 for workers in self.workers_of)

    def can_spare(self, name: str, experts: Iterable[int]) -> bool:
        """Whether other members hold all these experts, too."""
        return all(
            any(self.members[worker].name != name for worker in self.workers_of[expert]) for expert in experts
        )

    def check_covered(self) -> None:
        """Raise one CoverageError that lists the experts without a worker and what each member has."""
        if self.uncovered:
            held = "; ".join(f"{m.name} holds {format_ranges(m.info.ranges)}" for m in self.members)
            raise CoverageError(f"no worker holds experts {format_ranges(self.uncovered)}; {held}")


def make_placement(members: Sequence[Member], expert_count: int) -> Placement:
    """The placement of the members that serve. Raises WorkerMismatchError for an unknown expert."""
    serving = tuple(member for member in members if member.state is MemberState.SERVING)
    workers_of: list[list[int]] = [[] for _ in range(expert_count)]
    for position, member in enumerate(serving):
        last = max((held.last for held in member.info.ranges), default=0)
        if last >= expert_count:
            raise WorkerMismatchError(
                f"{member.name} says it holds expert {last}, the model has 0-{expert_count - 1}"
            )
        for expert in expert_ids(member.info.ranges):
            workers_of[expert].append(position)
    return Placement(serving, tuple(map(tuple, workers_of)))
