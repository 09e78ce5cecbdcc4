"""Who waits for whom where native code answers: streams, Python, drains, and layers that are swapped."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jangtq_proto.wire.frames import OK
from jangtq_worker.device.admission import Admission
from tests.support.express_sessions import (
    FRAME,
    HIDDEN,
    SECONDS,
    SUMS,
    conversing,
    frame_of,
    payload_of,
    plain_call,
)
from tests.support.native_layers import ScriptedNativeLayer, held_up, scripted_admission


@pytest.fixture
def layer() -> ScriptedNativeLayer:
    return ScriptedNativeLayer(HIDDEN)


@pytest.fixture
def admission(layer: ScriptedNativeLayer) -> Admission:
    return scripted_admission(layer)


def test_a_drain_waits_for_the_answer(admission: Admission, layer: ScriptedNativeLayer) -> None:
    with conversing(admission) as caller, held_up(layer) as go_on:
        caller.say(FRAME)
        assert layer.asked.wait(SECONDS)
        assert admission.in_flight.count == 1
        assert not admission.is_quiet_for(caller)
        assert not admission.drain(0.1)
        go_on.set()
        answer = caller.hear()
        assert answer is not None and answer.status == OK
        assert admission.drain(SECONDS)
        assert "stopping" in bytes(caller.ask(FRAME).payload).decode()
    assert layer.native_calls == 1


def test_a_call_is_in_flight_until_its_answer_left(admission: Admission, layer: ScriptedNativeLayer) -> None:
    calls = frame_of(plain_call(rows=64)) * 2000
    with conversing(admission) as caller, ThreadPoolExecutor(1) as speaker:
        spoken = speaker.submit(caller.say, calls)
        _wait_for(lambda: _stands_still(lambda: layer.native_calls))
        assert not admission.drain(0.1)
        for _ in range(2000):
            assert caller.hear() is not None
        spoken.result()
        assert admission.drain(SECONDS)


def test_who_leaves_waits_for_native_calls_to_cease(admission: Admission) -> None:
    with conversing(admission) as caller, ThreadPoolExecutor(1) as other:
        left = other.submit(admission.wait_until_left, quiet_seconds=1.0, timeout_seconds=SECONDS)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            caller.ask(FRAME)
            time.sleep(0.01)
        assert not left.done()
        left.result(SECONDS)


def _stands_still(number: Callable[[], int]) -> bool:
    before = number()
    time.sleep(0.2)
    return 0 < before == number()


def _wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def who_waits(admission: Admission) -> threading.Event:
    """Set once Python waits for a native forward."""
    waits = threading.Event()
    native = admission.native
    assert native is not None

    def wait() -> None:
        waits.set()
        native.wait_until_free()

    admission.shard().share_device(wait)
    return waits


def test_nobody_who_waits_is_overtaken() -> None:
    """A second stream comes while the first one computes, and has its answer before the first one's next."""
    layers = ScriptedNativeLayer(HIDDEN), ScriptedNativeLayer(HIDDEN)
    admission = scripted_admission(*layers)
    waits, computed = who_waits(admission), list[str]()
    layers[1].act = lambda: computed.append("the first one's next")
    with conversing(admission) as first, conversing(admission) as second:
        with held_up(layers[0]) as go_on:
            first.say(FRAME + frame_of(plain_call(layer=1)))
            assert layers[0].asked.wait(SECONDS)
            second.say(FRAME)
            assert waits.wait(SECONDS)
            layers[0].act = lambda: computed.append("the second one's")
            go_on.set()
        for caller in (second, first, first):
            answer = caller.hear()
            assert answer is not None and answer.status == OK
    assert computed == ["the second one's", "the first one's next"]


def test_calls_that_wait_for_a_native_one_are_computed_together(
    admission: Admission, layer: ScriptedNativeLayer
) -> None:
    waits, computed = who_waits(admission), list[int]()
    with conversing(admission) as first, conversing(admission) as second, conversing(admission) as third:
        with held_up(layer) as go_on:
            first.say(FRAME)
            assert layer.asked.wait(SECONDS)
            second.say(frame_of(plain_call(rows=2)))
            assert waits.wait(SECONDS)
            third.say(frame_of(plain_call(rows=2)))
            _wait_for(lambda: admission.shard().waiting == 1)
            layer.act = lambda: computed.append(len(layer.rows))
            go_on.set()
        for caller in (first, second, third):
            answer = caller.hear()
            assert answer is not None and answer.status == OK
    assert computed == [4]


def test_to_wait_for_a_native_forward_is_to_wait(admission: Admission, layer: ScriptedNativeLayer) -> None:
    waits = who_waits(admission)
    with conversing(admission) as first, conversing(admission) as second:
        with held_up(layer) as go_on:
            first.say(FRAME)
            assert layer.asked.wait(SECONDS)
            second.say(FRAME)
            assert waits.wait(SECONDS)
            layer.act = lambda: None
            time.sleep(0.2)
            go_on.set()
        answer = second.hear()
    assert answer is not None
    assert answer.queue_ns >= 200_000_000


def test_who_takes_no_answers_holds_nobody_else_up(admission: Admission, layer: ScriptedNativeLayer) -> None:
    with conversing(admission) as deaf, conversing(admission) as other, ThreadPoolExecutor(1) as speaker:
        speaker.submit(deaf.say, frame_of(plain_call(rows=64)) * 2000)
        _wait_for(lambda: _stands_still(lambda: layer.native_calls))
        assert bytes(other.ask(FRAME).payload) == SUMS
        deaf.interrupt()


def test_many_streams_at_once_get_their_own_answers() -> None:
    layers = [ScriptedNativeLayer(HIDDEN) for _ in range(4)]
    admission = scripted_admission(*layers)

    def ask_often(number: int) -> None:
        with conversing(admission) as caller:
            for index in range(200):
                call = plain_call(rows=1 + (number + index) % 5, layer=index % 4)
                answer = caller.ask(frame_of(call, call_id=index + 1))
                assert answer.call_id == index + 1
                assert bytes(answer.payload) == payload_of(call)

    with ThreadPoolExecutor(8) as callers:
        list(callers.map(ask_often, range(8)))
    assert admission.in_flight.total == 8 * 200
    assert admission.in_flight.count == 0
    assert 0 < sum(layer.native_calls for layer in layers) <= 8 * 200


def test_layers_may_be_swapped_while_streams_ask() -> None:
    before, after = ScriptedNativeLayer(HIDDEN), ScriptedNativeLayer(HIDDEN)
    admission = scripted_admission(before)
    with conversing(admission) as caller:
        for layer in (after, before) * 20:
            with held_up(before if layer is after else after) as go_on, ThreadPoolExecutor(1) as other:
                caller.say(FRAME)
                assert (before if layer is after else after).asked.wait(SECONDS)
                swapped = other.submit(admission.hold, (layer,))
                go_on.set()
                swapped.result()
                answer = caller.hear()
                assert answer is not None and np.array_equal(bytes(answer.payload), SUMS)
                before.asked.clear()
                after.asked.clear()
    assert before.native_calls == after.native_calls == 20


def test_no_call_is_before_a_swap_that_waits() -> None:
    before, after = ScriptedNativeLayer(HIDDEN), ScriptedNativeLayer(HIDDEN)
    admission = scripted_admission(before)
    with conversing(admission) as caller, ThreadPoolExecutor(1) as other, held_up(before) as go_on:
        caller.say(FRAME * 20)
        assert before.asked.wait(SECONDS)
        swapped = other.submit(admission.hold, (after,))
        with pytest.raises(TimeoutError):
            swapped.result(0.2)
        go_on.set()
        for _ in range(20):
            answer = caller.hear()
            assert answer is not None and bytes(answer.payload) == SUMS
        swapped.result()
    assert before.native_calls == 1
