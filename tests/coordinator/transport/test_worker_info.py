"""Who holds what, and what is said when something is missing."""

import pytest

from jangtq_coordinator.transport.worker_info import WorkerInfo, check_workers
from jangtq_proto.errors import CoverageError, WorkerMismatchError
from jangtq_proto.ranges import parse_ranges
from tests.support.fixed_cluster import membership_of


def worker(name: str, ranges: str, *, fingerprint: str = "f", protocol_version: int = 1) -> WorkerInfo:
    return WorkerInfo(
        name=name,
        ranges=parse_ranges(ranges),
        fingerprint=fingerprint,
        protocol_version=protocol_version,
        device="cpu",
        weight_bytes=0,
        resident_bytes=0,
    )


def test_every_expert_gets_its_workers() -> None:
    placement = membership_of({"a": "0-2,6", "b": "2-5,7"}, 8).placement
    assert placement.workers_of == ((0,), (0,), (0, 1), (1,), (1,), (1,), (0,), (1,))
    assert placement.has_replicas and not placement.uncovered
    placement.check_covered()


def test_missing_experts_are_named_with_what_everybody_holds() -> None:
    with pytest.raises(CoverageError) as caught:
        membership_of({"a:1": "0-3", "b:1": "6"}, 8).placement.check_covered()
    assert str(caught.value) == "no worker holds experts 4-5,7; a:1 holds 0-3; b:1 holds 6"


def test_an_expert_outside_the_model_is_named() -> None:
    with pytest.raises(WorkerMismatchError, match="expert 8"):
        membership_of({"a": "0-8"}, 8)


def test_all_that_does_not_fit_is_said_at_once() -> None:
    workers = [worker("a", "0", fingerprint="other"), worker("b", "1", protocol_version=9), worker("c", "2")]
    with pytest.raises(WorkerMismatchError) as caught:
        check_workers(workers, fingerprint="f", protocol_version=1)
    assert "worker a" in str(caught.value)
    assert "worker b" in str(caught.value)
    assert "worker c" not in str(caught.value)
