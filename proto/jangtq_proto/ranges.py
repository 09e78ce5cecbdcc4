"""Ranges of experts, closed at both ends, as the command line writes them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jangtq_proto.errors import ConfigurationError

_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


@dataclass(frozen=True, order=True)
class ExpertRange:
    """Experts first to last, both included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise ConfigurationError(f"expert range {self}: the first expert must not exceed the last")

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def parse_ranges(text: str) -> tuple[ExpertRange, ...]:
    """Read `0-63,128-191` or `7`; ranges may not overlap. Raises ConfigurationError."""
    ranges = tuple(sorted(_parse_range(part.strip(), text) for part in text.split(",")))
    check_apart(ranges)
    return ranges


def check_apart(ranges: Sequence[ExpertRange]) -> None:
    """Raises ConfigurationError where ascending ranges overlap."""
    for left, right in pairwise(ranges):
        if right.first <= left.last:
            raise ConfigurationError(f"expert ranges {left} and {right} overlap")


def expert_ids(ranges: Iterable[ExpertRange]) -> tuple[int, ...]:
    """Every expert of the ranges, ascending."""
    return tuple(sorted(expert for r in ranges for expert in range(r.first, r.last + 1)))


def ranges_of(experts: Iterable[int]) -> tuple[ExpertRange, ...]:
    """The fewest ranges that hold exactly these experts."""
    ranges: list[ExpertRange] = []
    for expert in sorted(set(experts)):
        if ranges and ranges[-1].last == expert - 1:
            ranges[-1] = ExpertRange(ranges[-1].first, expert)
        else:
            ranges.append(ExpertRange(expert, expert))
    return tuple(ranges)


def format_ranges(ranges: Iterable[ExpertRange]) -> str:
    """`0-63,128-191`, the form that parse_ranges reads."""
    return ",".join(str(r) for r in ranges)


def _parse_range(part: str, text: str) -> ExpertRange:
    match = _RANGE.fullmatch(part)
    if match is None:
        raise ConfigurationError(
            f"expert range {part!r} in {text!r}: write FIRST-LAST, both included, "
            "such as 0-127 or 0-63,128-191"
        )
    first = int(match[1])
    return ExpertRange(first, int(match[2]) if match[2] else first)
