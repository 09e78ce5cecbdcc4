"""Expert ranges: one parser, closed ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_proto.errors import ConfigurationError
from jangtq_proto.ranges import ExpertRange, expert_ids, format_ranges, parse_ranges, ranges_of
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.range_messages import read_ranges


def test_a_range_includes_both_ends() -> None:
    assert expert_ids(parse_ranges("0-127")) == tuple(range(128))
    assert expert_ids(parse_ranges("7")) == (7,)


def test_several_ranges_come_out_sorted() -> None:
    assert parse_ranges("128-191, 0-63") == (ExpertRange(0, 63), ExpertRange(128, 191))


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-2", "0-5,5-9", "1--2", "0-63;64", "9999999"])
def test_a_bad_range_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_ranges(text)
    assert any(part.strip() in str(caught.value) for part in text.split(",")) or text == ""


@given(st.sets(st.integers(0, 300), min_size=1))
def test_experts_survive_the_way_through_text(experts: set[int]) -> None:
    assert set(expert_ids(parse_ranges(format_ranges(ranges_of(experts))))) == experts


def told(*ranges: tuple[int, int]) -> list[pb.ExpertRange]:
    return [pb.ExpertRange(first=first, last=last) for first, last in ranges]


def test_what_the_other_side_says_is_bounded_before_it_is_unfolded() -> None:
    assert read_ranges(told((64, 127), (0, 63))) == (ExpertRange(0, 63), ExpertRange(64, 127))
    for ranges, words in (
        (told(*[(0, 255)] * 2), "0-255 and 0-255 overlap"),
        (told(*[(expert, expert) for expert in range(32_769)]), "32769 expert ranges: allowed are 32768"),
        (told((3, 2)), "must not exceed the last"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            read_ranges(ranges)
