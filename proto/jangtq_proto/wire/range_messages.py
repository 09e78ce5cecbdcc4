"""Ranges of experts as protobuf messages."""

from collections.abc import Collection, Iterable
from typing import Final

from jangtq_proto.errors import ConfigurationError
from jangtq_proto.ranges import ExpertRange, check_apart
from jangtq_proto.v1 import expert_pb2 as pb

_MOST_RANGES: Final = 32_768


def read_ranges(messages: Collection[pb.ExpertRange]) -> tuple[ExpertRange, ...]:
    """The ranges, ascending. Raises ConfigurationError for too many of them, and for overlaps."""
    if len(messages) > _MOST_RANGES:
        raise ConfigurationError(f"{len(messages)} expert ranges: allowed are {_MOST_RANGES}")
    ranges = tuple(sorted(ExpertRange(held.first, held.last) for held in messages))
    check_apart(ranges)
    return ranges


def write_ranges(ranges: Iterable[ExpertRange]) -> list[pb.ExpertRange]:
    """The form that read_ranges reads."""
    return [pb.ExpertRange(first=held.first, last=held.last) for held in ranges]
