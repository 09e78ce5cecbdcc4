"""Members that come, go, drain and change, and the health_monitor that looks after them."""

import threading

import pytest

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.placement import Member, MemberState
from jangtq_proto.errors import ConfigurationError, CoverageError
from tests.support.fixed_cluster import membership_of, worker


def member_of(membership: Membership, name: str) -> Member:
    member = membership.member(name)
    assert member is not None
    return member


def test_a_loss_changes_the_plan_once_and_old_news_change_nothing() -> None:
    membership = membership_of({"a": "0-3", "b": "2-5"}, 6)
    first = member_of(membership, "a")
    membership.lose(first, "gone")
    membership.lose(first, "gone")
    assert [str(r) for r in membership.placement.uncovered] == ["0-1"]
    assert membership.counters.losses == 1
    membership.admit(worker("a", "0-3", instance="second"))
    membership.lose(first, "the old connection broke at last")
    assert member_of(membership, "a").state is MemberState.SERVING
    assert membership.is_lost(first) and not membership.is_lost(member_of(membership, "a"))


def test_a_member_may_come_back_with_other_experts() -> None:
    membership = membership_of({"a": "0-3", "b": "2-5"}, 6)
    membership.lose(member_of(membership, "a"), "gone")
    membership.admit(worker("a", "0-1", instance="second"))
    assert membership.placement.uncovered == () and not membership.placement.has_replicas


def test_draining_needs_somebody_else_for_every_expert() -> None:
    membership = membership_of({"a": "0-3", "b": "2-5", "c": "0-1"}, 6)
    with pytest.raises(CoverageError, match=r"worker b alone serves experts 4-5"):
        membership.drain("b")
    with pytest.raises(ConfigurationError, match="d is no worker of this cluster: there are a, b, c"):
        membership.drain("d")
    drained = membership.drain("a")
    assert [m.name for m in membership.placement.members] == ["b", "c"]
    assert not membership.is_lost(drained), "what it was asked for it may still answer"
    assert not membership.admit(worker("a", "0-3"))
    assert membership.admit(worker("a", "0-3"), asked_for=True)


def test_waiting_for_a_change_of_the_plan() -> None:
    membership = membership_of({"a": "0"}, 1)
    placement = membership.placement
    assert not membership.wait_for_change(placement, 0.01)
    threading.Timer(0.01, membership.admit, [worker("b", "0")]).start()
    assert membership.wait_for_change(placement, 30)
