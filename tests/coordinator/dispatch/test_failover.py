"""An exchange whose workers fail in every way: the answer is right as long as somebody has each expert."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.placement import MemberState
from jangtq_coordinator.dispatch.collector import Timeouts
from jangtq_coordinator.dispatch.dispatcher import Dispatcher
from jangtq_coordinator.readiness import Readiness
from jangtq_coordinator.transport.connection import GiveUp, never
from jangtq_proto.errors import (
    CallRejectedError,
    ClusterError,
    CoverageError,
    EngineUnavailableError,
    WorkerBusyError,
    WorkerFaultError,
    WorkerUnreachableError,
)
from jangtq_proto.wire.codec import LayerCall
from tests.support.connection_answers import LayerAnswer, answer_on_grid
from tests.support.fixed_cluster import dispatcher_of, membership_of, worker

EXPERTS, HIDDEN = 8, 4
Act = Callable[[], None]


def work_well() -> None:
    pass


def raising(error: ClusterError) -> Act:
    def act() -> None:
        raise error

    return act


class ScriptedConnection:
    """Expert `e` multiplies a row by `e + 1`, unless an act in `acts` (the last one stays) says otherwise."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts) or [work_well]
        self.calls: dict[int, LayerCall] = {}
        self.asked = 0
        self.is_silent = False
        self.lies = False

    def send(self, call: LayerCall) -> int:
        self.asked += 1
        self.calls[self.asked] = call
        return self.asked

    def receive(self, call_id: int, give_up: GiveUp = never) -> LayerAnswer:
        if self.is_silent:
            until(give_up)
            raise WorkerUnreachableError("no answer")
        (self.acts.pop(0) if len(self.acts) > 1 else self.acts[0])()
        call = self.calls.pop(call_id)
        used = np.where(call.expert_ids >= 0, call.router_weights, np.float32(0))
        factors = (call.expert_ids + 1 + self.lies).astype(np.float32) * used
        return answer_on_grid(
            call, factors[..., None] * call.rows.astype(np.float32)[:, None], compute_ns=1000
        )

    def abandon(self) -> None:
        self.calls.clear()

    def close(self) -> None:
        self.calls.clear()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never came to it"
        time.sleep(0.002)


class Scene:
    """Members with overlapping ranges, their connections, and a dispatcher over them."""

    def __init__(
        self, ranges: dict[str, str], *, timeouts: Timeouts | None = None, audit: float = 0.0
    ) -> None:
        self.connections = {name: ScriptedConnection() for name in ranges}
        self.readiness = Readiness()
        self.membership: Membership = membership_of(ranges, EXPERTS)
        self.dispatcher: Dispatcher = dispatcher_of(
            self.membership, self.connections, timeouts=timeouts, readiness=self.readiness, audit=audit
        )

    def exchange(self, rows: int = 3, *, seed: int = 0) -> None:
        """One layer; the answer must be right."""
        x, ids, weights = some_rows(rows, seed)
        sums = self.dispatcher.forward(0, x, expert_ids=ids, router_weights=weights)
        expected = x * ((ids + 1) * weights).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(sums, expected, rtol=1e-3, atol=1e-3)

    def state(self, name: str) -> MemberState:
        member = self.membership.member(name)
        assert member is not None
        return member.state


def some_rows(rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    ids = np.stack([random.permutation(EXPERTS)[:4] for _ in range(rows)]).astype(np.int32)
    x = random.standard_normal((rows, HIDDEN)).astype(np.float32)
    return x, ids, random.random(ids.shape, dtype=np.float32)


REPLICAS = {"a": "0-7", "b": "0-7"}


@pytest.mark.parametrize("rows", [1, 3])
def test_whoever_is_gone_is_replaced_within_the_exchange_and_not_asked_again(rows: int) -> None:
    scene = Scene({"a": "0-5", "b": "2-7", "c": "0-1,6-7"})
    scene.connections["a"].acts = [raising(WorkerUnreachableError("cut off"))]
    scene.exchange(rows)
    assert scene.state("a") is MemberState.LOST
    asked = scene.connections["a"].asked
    for seed in range(5):
        scene.exchange(rows, seed=seed)
    assert scene.connections["a"].asked == asked == scene.membership.counters.failovers == 1


def test_whoever_comes_back_is_asked_again() -> None:
    scene = Scene(REPLICAS)
    scene.connections["a"].acts = [raising(WorkerUnreachableError("cut off")), work_well]
    scene.exchange()
    scene.membership.admit(worker("a", "0-3", instance="second"))
    asked = scene.connections["a"].asked
    for seed in range(5):
        scene.exchange(seed=seed)
    assert scene.connections["a"].asked == asked + 5


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_any_failures_leave_the_sums_right_while_somebody_has_each_expert(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    scene = Scene({"safe": "0-7", "a": "0-4", "b": "3-7", "c": "1,6"})
    errors = [WorkerUnreachableError("gone"), WorkerFaultError("broken"), WorkerBusyError("full")]
    for name in "abc":
        acts = [raising(errors[i]) if i < 3 else work_well for i in random.integers(0, 8, 12)]
        scene.connections[name].acts = [*acts, work_well]
    for number in range(6):
        scene.exchange(rows, seed=seed + number)
        if random.random() < 0.5:
            for name in "abc":
                if scene.state(name) is MemberState.LOST:
                    scene.membership.admit(worker(name, "0-7"))


def test_a_late_worker_is_not_waited_for_where_somebody_else_can_answer() -> None:
    scene = Scene(REPLICAS, timeouts=Timeouts(call_seconds=3600))
    for seed in range(3):
        scene.exchange(seed=seed)
    scene.connections["a"].is_silent = True
    scene.exchange()
    assert scene.state("a") is MemberState.LOST
    assert scene.membership.counters.failovers == 1


def test_a_late_worker_that_nobody_can_replace_is_waited_for() -> None:
    scene = Scene({"a": "0-7"}, timeouts=Timeouts(call_seconds=3600))
    scene.exchange()
    scene.connections["a"].acts = [lambda: time.sleep(0.4), work_well]
    scene.exchange()
    assert scene.state("a") is MemberState.SERVING


def test_who_answers_wrong_again_and_again_is_put_in_quarantine() -> None:
    scene = Scene(REPLICAS)
    scene.connections["a"].acts = [raising(WorkerFaultError("not finite"))]
    for seed in range(4):
        scene.exchange(seed=seed)
    assert scene.state("a") is MemberState.QUARANTINED
    assert scene.membership.counters.quarantines == 1
    assert not scene.membership.admit(worker("a", "0-7"))
    assert scene.membership.admit(worker("a", "0-7"), asked_for=True)


def test_a_fault_that_passes_costs_nothing_where_nobody_else_has_the_experts() -> None:
    scene = Scene({"a": "0-7"})
    scene.connections["a"].acts = [raising(WorkerFaultError("hiccup")), work_well]
    scene.exchange()
    assert (scene.state("a"), scene.membership.counters.retries) == (MemberState.SERVING, 1)


def test_a_fault_that_stays_is_the_callers_error_in_the_end_and_later_calls_work() -> None:
    scene = Scene({"a": "0-7"})
    scene.connections["a"].acts = [raising(WorkerFaultError("not finite"))]
    with pytest.raises(WorkerFaultError, match="not finite"):
        scene.exchange()
    assert scene.connections["a"].asked == 3
    assert scene.state("a") is MemberState.SERVING
    scene.connections["a"].acts = [work_well]
    scene.exchange()


def test_a_malformed_call_is_not_held_against_anybody() -> None:
    scene = Scene(REPLICAS)
    for connection in scene.connections.values():
        connection.acts = [raising(CallRejectedError("rows is not finite"))]
    with pytest.raises(CallRejectedError):
        scene.exchange()
    assert scene.connections["a"].asked + scene.connections["b"].asked <= 4
    assert {scene.state("a"), scene.state("b")} == {MemberState.SERVING}


@pytest.mark.parametrize("ranges", [REPLICAS, {"a": "0-7"}], ids=["replica", "alone"])
def test_pushback_is_obeyed_and_nobody_is_lost_for_it(ranges: dict[str, str]) -> None:
    scene = Scene(ranges)
    scene.connections["a"].acts = [raising(WorkerBusyError("full"))] * 3 + [work_well]
    scene.exchange()
    assert scene.state("a") is MemberState.SERVING
    assert scene.membership.counters.pushbacks >= 1


def test_pushback_without_end_is_an_error_in_the_end() -> None:
    scene = Scene({"a": "0-7"}, timeouts=Timeouts(call_seconds=0.2))
    scene.connections["a"].acts = [raising(WorkerBusyError("full"))]
    with pytest.raises(WorkerBusyError, match="full"):
        scene.exchange()


def test_an_exchange_waits_for_a_worker_and_goes_on_by_itself() -> None:
    scene = Scene({"a": "0-3", "b": "4-7"})
    scene.connections["b"].acts = [raising(WorkerUnreachableError("killed")), work_well]
    working = threading.Thread(target=scene.exchange)
    working.start()
    until(lambda: scene.membership.counters.pauses == 1)
    assert [str(r) for r in scene.membership.placement.uncovered] == ["4-7"]
    scene.membership.admit(worker("b", "4-7", instance="second"))
    working.join(30)
    assert not working.is_alive()
    assert scene.membership.counters.paused_seconds > 0
    assert scene.membership.placement.uncovered == ()


def test_an_exchange_without_workers_fails_after_the_worker_timeout_naming_them() -> None:
    scene = Scene({"a": "0-3", "b": "4-7"}, timeouts=Timeouts(worker_seconds=0.05))
    scene.connections["b"].acts = [raising(WorkerUnreachableError("worker b: killed"))]
    with pytest.raises(
        CoverageError, match=r"experts 4-7 had no worker for more than 0\.05 s; b is lost: .*killed"
    ):
        scene.exchange()
    scene.membership.admit(worker("b", "4-7", instance="second"))
    scene.connections["b"].acts = [work_well]
    scene.exchange()


def test_waiting_ends_when_who_listens_says_so() -> None:
    scene = Scene({"a": "0-3", "b": "4-7"})
    scene.connections["b"].acts = [raising(WorkerUnreachableError("killed"))]

    def stop() -> None:
        raise EngineUnavailableError("stopping")

    scene.readiness.while_waiting(stop)
    with pytest.raises(EngineUnavailableError):
        scene.exchange()


def test_exchanges_under_way_together_survive_a_loss() -> None:
    scene = Scene(REPLICAS)
    work = [some_rows(3, seed) for seed in range(2)]
    exchanges = [
        scene.dispatcher.begin(0, x, expert_ids=ids, router_weights=weights) for x, ids, weights in work
    ]
    scene.connections["a"].acts = [raising(WorkerUnreachableError("gone"))]
    for (x, ids, weights), exchange in zip(work, exchanges, strict=True):
        expected = x * ((ids + 1) * weights).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(scene.dispatcher.finish(exchange), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("liar", ["a", "b", "c"])
def test_an_audit_finds_who_lies_and_no_lie_gets_through(liar: str) -> None:
    scene = Scene({"a": "0-7", "b": "0-7", "c": "0-3,6-7", "d": "4-5"}, audit=1.0)
    scene.connections[liar].lies = True
    first_lie = 0
    while scene.state(liar) is not MemberState.QUARANTINED:
        x, ids, weights = some_rows(3, first_lie)
        scene.dispatcher.forward(0, x, expert_ids=ids, router_weights=weights)
        first_lie += 1
        assert first_lie < 100
    assert all(scene.state(name) is MemberState.SERVING for name in "abcd" if name != liar)
    assert scene.membership.counters.disagreements >= 1
    for seed in range(5):
        scene.exchange(seed=seed)


def test_an_audit_that_finds_nothing_changes_nothing() -> None:
    scene = Scene(REPLICAS, audit=1.0)
    for seed in range(10):
        scene.exchange(seed=seed)
    counters = scene.membership.counters
    assert (counters.audits, counters.disagreements, counters.failovers) == (10, 0, 0)


def test_two_that_disagree_without_a_third_are_reported_and_go_on(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(REPLICAS, audit=1.0)
    scene.connections["a"].lies = True
    x, ids, weights = some_rows(3, 0)
    for _ in range(4):
        scene.dispatcher.forward(0, x, expert_ids=ids, router_weights=weights)
    assert "worker a and worker b disagree" in caplog.text or "worker b and worker a disagree" in caplog.text
    assert {scene.state("a"), scene.state("b")} == {MemberState.SERVING}


def test_nobody_is_audited_whose_experts_nobody_else_has() -> None:
    scene = Scene({"a": "0-3", "b": "4-7"}, audit=1.0)
    scene.exchange()
    assert scene.membership.counters.audits == 0


def test_a_call_that_ends_whoever_is_asked_is_given_up_in_the_end() -> None:
    scene = Scene(REPLICAS)

    def die(name: str) -> Act:
        def act() -> None:
            member = scene.membership.member(name)
            assert member is not None
            scene.membership.lose(member, "crashed")
            scene.membership.admit(worker(name, "0-7", instance=str(member.generation)))
            raise WorkerUnreachableError("crashed")

        return act

    for name, connection in scene.connections.items():
        connection.acts = [die(name)]
    with pytest.raises(WorkerUnreachableError, match="crashed"):
        scene.exchange()
    assert sum(connection.asked for connection in scene.connections.values()) <= 16
    for connection in scene.connections.values():
        connection.acts = [work_well]
    scene.exchange()
