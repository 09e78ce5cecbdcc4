"""The health monitor: workers that fall silent, come back, leave and are added."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from jangtq_coordinator.cluster.health_monitor import HealthMonitor, ProbeIntervals
from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.placement import Member, MemberState
from jangtq_coordinator.transport.worker_info import WorkerInfo, check_workers
from jangtq_proto.addresses import Address
from jangtq_proto.errors import ClusterError, WorkerUnreachableError
from tests.support.fixed_cluster import membership_of, worker

QUICK = ProbeIntervals(serving_seconds=0.01, lost_seconds=0.01, longest_lost_seconds=0.05, answer_seconds=1)


def member_of(membership: Membership, name: str) -> Member:
    member = membership.member(name)
    assert member is not None
    return member


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never came to it"
        time.sleep(0.002)


class Workers:
    """What the workers of a health_monitor would answer: a worker, or an error."""

    def __init__(self, membership: Membership) -> None:
        self.answers: dict[str, WorkerInfo | ClusterError] = {m.name: m.info for m in membership.members}
        self.places = {"a:1": frozenset({"192.0.2.1", "2001:db8::1"})}
        self.located = 0

    def ask(self, address: Address, seconds: float) -> WorkerInfo:
        answer = self.answers[str(address)]
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    def locate(self, address: Address) -> frozenset[str]:
        self.located += str(address) == "a:1"
        return self.places.get(str(address), frozenset())

    def wait_for_look(self, count: int) -> None:
        """Until it was asked so often where worker a is."""
        until(lambda: self.located >= count)


class Kept:
    """A membership of two replicas with a health_monitor over scripted workers."""

    def __init__(self) -> None:
        self.membership = membership_of({"a:1": "0-3", "b:1": "0-3"}, 4)
        self.workers = Workers(self.membership)
        self.health_monitor = HealthMonitor(
            self.membership,
            ask=self.workers.ask,
            check=lambda found: check_workers([found], fingerprint="f", protocol_version=1),
            intervals=QUICK,
            locate=self.workers.locate,
        )
        for name in "ab":
            self.health_monitor.watch(Address(name, 1))

    def state(self, name: str) -> MemberState:
        return member_of(self.membership, name).state


@pytest.fixture
def kept() -> Iterator[Kept]:
    result = Kept()
    yield result
    result.health_monitor.stop()


def test_who_falls_silent_is_lost_and_who_answers_again_is_back(kept: Kept) -> None:
    kept.workers.answers["a:1"] = WorkerUnreachableError("nobody there")
    until(lambda: kept.state("a:1") is MemberState.LOST)
    kept.workers.answers["a:1"] = worker("a:1", "1-2", instance="second")
    until(lambda: kept.state("a:1") is MemberState.SERVING)
    assert [len(workers) for workers in kept.membership.placement.workers_of] == [1, 2, 2, 1]
    assert kept.state("b:1") is MemberState.SERVING


def test_a_restart_between_two_questions_is_noticed(kept: Kept) -> None:
    before = member_of(kept.membership, "a:1")
    kept.workers.answers["a:1"] = worker("a:1", "0-3", instance="second")
    until(lambda: kept.membership.is_lost(before))
    until(lambda: kept.state("a:1") is MemberState.SERVING)


def test_who_comes_back_with_another_bundle_stays_out(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    other = WorkerInfo("a:1", worker("a:1", "0-3").ranges, "other", 1, "cpu", 0, 0, "second")
    kept.workers.answers["a:1"] = other
    until(lambda: "holds another bundle" in caplog.text)
    assert kept.state("a:1") is MemberState.LOST
    kept.workers.answers["a:1"] = worker("a:1", "0-3", instance="third")
    until(lambda: kept.state("a:1") is MemberState.SERVING)


def test_a_drained_worker_stays_out_until_it_is_added_again(kept: Kept) -> None:
    kept.membership.drain("a:1")
    kept.workers.answers["a:1"] = worker("a:1", "0-3", instance="upgraded")
    assert not kept.membership.wait_for_change(kept.membership.placement, 0.1)
    kept.health_monitor.admit(Address("a", 1))
    assert kept.state("a:1") is MemberState.SERVING


def test_who_leaves_is_asked_nothing_more_and_is_let_in_when_it_is_back(kept: Kept) -> None:
    before = member_of(kept.membership, "a:1")
    kept.workers.answers["a:1"] = replace(before.info, leaving=True)
    until(lambda: kept.state("a:1") is MemberState.LEAVING)
    assert [m.name for m in kept.membership.placement.members] == ["b:1"]
    assert not kept.membership.is_lost(before), "what it was asked for it may still answer"
    with pytest.raises(ClusterError, match="worker a:1 is about to stop"):
        kept.health_monitor.admit(Address("a", 1))
    kept.workers.answers["a:1"] = WorkerUnreachableError("gone")
    until(lambda: kept.state("a:1") is MemberState.LOST)
    kept.workers.answers["a:1"] = worker("a:1", "0-3", instance="second")
    until(lambda: kept.state("a:1") is MemberState.SERVING)
    counters = kept.membership.counters
    assert (counters.departures, counters.losses, counters.returns) == (1, 0, 1)


def test_a_new_worker_is_let_in_and_looked_after(kept: Kept) -> None:
    kept.workers.answers["c:1"] = worker("c:1", "2")
    kept.health_monitor.admit(Address("c", 1))
    assert len(kept.membership.placement.workers_of[2]) == 3
    kept.workers.answers["c:1"] = WorkerUnreachableError("gone again")
    until(lambda: kept.state("c:1") is MemberState.LOST)


def test_who_answers_under_another_address_is_connected_anew(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    before = member_of(kept.membership, "a:1")
    for kind in ({"2001:db8::1"}, set[str](), {"2001:db8::1", "192.0.2.7"}, {"192.0.2.7"}):
        kept.workers.places["a:1"] = frozenset(kind)
        kept.workers.wait_for_look(kept.workers.located + 2)
    assert not kept.membership.is_lost(before), "one of its addresses stayed each time"
    kept.workers.places["a:1"] = frozenset({"192.0.2.9"})
    until(lambda: kept.membership.is_lost(before))
    assert kept.state("a:1") is MemberState.SERVING
    assert "worker a:1 moved from 192.0.2.7 to 192.0.2.9: connecting anew" in caplog.text
    assert kept.membership.counters.losses == 0
