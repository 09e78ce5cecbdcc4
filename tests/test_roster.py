"""Who holds what, and what is said when something is missing."""

import numpy as np
import pytest

from jangtq_coordinator.roster import Holder, assign_experts, check_holders
from jangtq_proto.errors import CoverageError, WorkerMismatchError
from jangtq_proto.ranges import parse_ranges


def holder(name: str, ranges: str, *, fingerprint: str = "f", protocol_version: int = 1) -> Holder:
    return Holder(
        name=name,
        ranges=parse_ranges(ranges),
        fingerprint=fingerprint,
        protocol_version=protocol_version,
        device="cpu",
        weight_bytes=0,
        resident_bytes=0,
    )


def test_every_expert_gets_its_holder() -> None:
    owner = assign_experts([holder("a", "0-2,6"), holder("b", "3-5,7")], 8)
    np.testing.assert_array_equal(owner, [0, 0, 0, 1, 1, 1, 0, 1])


def test_the_first_holder_of_a_shared_expert_has_it() -> None:
    owner = assign_experts([holder("a", "0-5"), holder("b", "4-7")], 8)
    np.testing.assert_array_equal(owner, [0, 0, 0, 0, 0, 0, 1, 1])


def test_missing_experts_are_named_with_what_everybody_holds() -> None:
    with pytest.raises(CoverageError) as caught:
        assign_experts([holder("a:1", "0-3"), holder("b:1", "6")], 8)
    assert str(caught.value) == "experts 4-5,7 are held by nobody; a:1 holds 0-3; b:1 holds 6"


def test_an_expert_outside_the_model_is_named() -> None:
    with pytest.raises(WorkerMismatchError, match="expert 8"):
        assign_experts([holder("a", "0-8")], 8)


def test_all_that_does_not_fit_is_said_at_once() -> None:
    holders = [holder("a", "0", fingerprint="other"), holder("b", "1", protocol_version=9), holder("c", "2")]
    with pytest.raises(WorkerMismatchError) as caught:
        check_holders(holders, fingerprint="f", protocol_version=1)
    assert "worker a" in str(caught.value)
    assert "worker b" in str(caught.value)
    assert "worker c" not in str(caught.value)
