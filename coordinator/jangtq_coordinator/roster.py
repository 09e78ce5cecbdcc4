"""Who holds which experts, and whether together they hold them all. Knows no network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jangtq_proto.errors import CoverageError, WorkerMismatchError
from jangtq_proto.ranges import ExpertRange, expert_ids, format_ranges, ranges_of

LOCAL = "coordinator"


@dataclass(frozen=True)
class Holder:
    """One process that holds experts, as it described itself."""

    name: str
    ranges: tuple[ExpertRange, ...]
    fingerprint: str
    protocol_version: int
    device: str
    weight_bytes: int
    resident_bytes: int


def check_holders(holders: Sequence[Holder], *, fingerprint: str, protocol_version: int) -> None:
    """Raise one WorkerMismatchError that names everything that does not fit."""
    problems = [
        *(
            f"worker {h.name} speaks protocol {h.protocol_version}, this coordinator {protocol_version}: "
            "install the same jangtq-cluster version on both"
            for h in holders
            if h.protocol_version != protocol_version
        ),
        *(
            f"worker {h.name} holds another bundle: its fingerprint is {h.fingerprint[:12]}, "
            f"this coordinator's {fingerprint[:12]}"
            for h in holders
            if h.fingerprint != fingerprint
        ),
    ]
    if problems:
        raise WorkerMismatchError("; ".join(problems))


def assign_experts(holders: Sequence[Holder], expert_count: int) -> NDArray[np.int32]:
    """The holder of each expert, int32 [experts], the first in order where several hold it.

    Raises one CoverageError that lists the experts held by nobody and what each holder has.
    """
    owner = np.full(expert_count, -1, dtype=np.int32)
    for index in reversed(range(len(holders))):
        held = expert_ids(holders[index].ranges)
        if held and held[-1] >= expert_count:
            raise WorkerMismatchError(
                f"{holders[index].name} says it holds expert {held[-1]}, the model has 0-{expert_count - 1}"
            )
        owner[list(held)] = index
    missing = np.flatnonzero(owner < 0)
    if missing.size:
        raise CoverageError(
            f"experts {format_ranges(ranges_of(missing.tolist()))} are held by nobody; "
            + "; ".join(f"{h.name} holds {format_ranges(h.ranges)}" for h in holders)
        )
    return owner
