"""Ranges of experts as messages: in order, apart, and not without number."""

import pytest

from jangtq_proto.errors import ConfigurationError
from jangtq_proto.ranges import parse_ranges
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.range_messages import read_ranges, write_ranges


def test_ranges_come_back_in_ascending_order() -> None:
    ranges = parse_ranges("0-9,250-255")
    assert read_ranges(write_ranges(reversed(ranges))) == ranges


def test_overlaps_and_too_many_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        read_ranges([pb.ExpertRange(first=0, last=9), pb.ExpertRange(first=9, last=12)])
    with pytest.raises(ConfigurationError, match="32769 expert ranges: allowed are 32768"):
        read_ranges([pb.ExpertRange(first=0, last=0)] * 32_769)
