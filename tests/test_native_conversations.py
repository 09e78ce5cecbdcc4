"""Frames answered without the interpreter: what is heard, who waits for whom, and how conversations end."""

import errno
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from conversations import SECONDS, Caller, conversing, frame_of, plain_call, with_length
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_cases import random_layer
from mutations import Mutator, scaled
from native_calls import ScriptedNativeLayer

from jangtq_kernels.cpu import CpuBackend
from jangtq_proto.codec import CallShape, RowType
from jangtq_proto.frames import OK
from jangtq_worker.desk import Desk
from jangtq_worker.shard import Shard

HIDDEN = 16
CALL = plain_call(HIDDEN)
FRAME = frame_of(CALL)
SUMS = CALL.rows.tobytes() + CALL.exponents.tobytes()


@pytest.fixture
def layer() -> ScriptedNativeLayer:
    return ScriptedNativeLayer(HIDDEN)


@pytest.fixture
def desk(layer: ScriptedNativeLayer) -> Desk:
    return desk_of(layer)


def desk_of(*layers: ScriptedNativeLayer) -> Desk:
    desk = Desk(CallShape(len(layers), HIDDEN), max_streams=16)
    desk.serve(Shard(layers))
    return desk


@pytest.fixture(scope="module")
def real_desks() -> tuple[Desk, Desk]:
    """Of the same experts, with native answers and without."""
    layers = (CpuBackend(2).load(random_layer(HIDDEN, 16)),)
    with_native = Desk(CallShape(1, HIDDEN), max_streams=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jangtq_worker.native_desk.answer_library", lambda: None)
        without = Desk(CallShape(1, HIDDEN), max_streams=16)
    assert with_native.native is not None and without.native is None
    for desk in (with_native, without):
        desk.serve(Shard(layers))
    return with_native, without


def hear_all(desk: Desk, words: bytes) -> tuple[list[tuple[int, int, bytes, int]], str]:
    """Every answer to these words, and how the conversation ended."""
    with conversing(desk) as caller:
        caller.say(words)
        caller.hang_up()
        heard = caller.hear_all()
        caller.wait()
        return heard, repr(caller.error)


def real_frame(*, rows: int = 1, row_type: RowType = RowType.FLOAT32) -> bytes:
    call = plain_call(HIDDEN, rows=rows)
    call.expert_ids[:] = 100
    return frame_of(call, row_type=row_type)


@pytest.mark.parametrize("row_type", RowType)
def test_every_damaged_byte_has_the_outcome_that_it_has_in_python(
    real_desks: tuple[Desk, Desk], row_type: RowType
) -> None:
    good = real_frame(row_type=row_type)
    for at in range(len(good)):
        for flip in (0x01, 0x80):
            words = good + good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :] + good
            assert hear_all(real_desks[0], words) == hear_all(real_desks[1], words)


def test_damaged_frames_have_the_outcome_that_they_have_in_python(real_desks: tuple[Desk, Desk]) -> None:
    mutator = Mutator(12)
    for _ in range(scaled(100)):
        frames = [real_frame(rows=mutator.random.choice((1, 2, 5))) for _ in range(3)]
        damaged = mutator.mutate(frames[1])
        if mutator.random.random() < 0.8 and len(damaged) >= 4:
            damaged = with_length(damaged)
        words = frames[0] + damaged + frames[2]
        assert hear_all(real_desks[0], words) == hear_all(real_desks[1], words)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 70), st.sampled_from(RowType)), max_size=6), st.data())
def test_frames_may_come_in_any_pieces(
    real_desks: tuple[Desk, Desk], asked: list[tuple[int, RowType]], data: st.DataObject
) -> None:
    words = b"".join(real_frame(rows=rows, row_type=row_type) for rows, row_type in asked)
    cuts = data.draw(st.lists(st.integers(0, len(words)), max_size=8).map(sorted))
    with conversing(real_desks[0]) as caller, ThreadPoolExecutor(1) as speaker:

        def speak() -> None:
            for start, end in zip([0, *cuts], [*cuts, len(words)], strict=True):
                caller.say(words[start:end])
            caller.hang_up()

        spoken = speaker.submit(speak)
        heard = caller.hear_all()
        spoken.result()
    assert (heard, "None") == hear_all(real_desks[1], words)
    assert len(heard) == len(asked)


def test_ordinary_calls_never_reach_the_interpreter(desk: Desk, layer: ScriptedNativeLayer) -> None:
    with conversing(desk) as caller:
        for count in range(1, 4):
            answer = caller.ask(FRAME)
            assert (answer.status, bytes(answer.payload)) == (OK, SUMS)
            assert layer.native_calls == desk.in_flight.total == count
    assert desk.in_flight.count == 0


def test_polling_finds_the_same_answers(desk: Desk, layer: ScriptedNativeLayer) -> None:
    with conversing(desk, poll_us=2000) as caller:
        for pause_seconds in (0, 0.01, 0):
            time.sleep(pause_seconds)
            assert bytes(caller.ask(FRAME).payload) == SUMS
    assert layer.native_calls == 3


def test_times_tell_how_long_the_layer_took(desk: Desk, layer: ScriptedNativeLayer) -> None:
    layer.act = lambda: time.sleep(0.02)
    with conversing(desk) as caller:
        started = time.perf_counter_ns()
        answer = caller.ask(FRAME)
        passed = time.perf_counter_ns() - started
    assert answer.compute_ns >= 20_000_000
    assert answer.queue_ns >= 0 and answer.queue_ns + answer.compute_ns <= passed


def test_answers_larger_than_the_socket_takes_at_once_arrive_whole(
    desk: Desk, layer: ScriptedNativeLayer
) -> None:
    call = plain_call(HIDDEN, rows=64)
    with conversing(desk) as caller, ThreadPoolExecutor(1) as speaker:
        spoken = speaker.submit(caller.say, frame_of(call) * 300)
        for _ in range(300):
            answer = caller.hear()
            assert answer is not None
            assert bytes(answer.payload) == call.rows.tobytes() + call.exponents.tobytes()
        spoken.result()
    assert layer.native_calls == 300


@contextmanager
def held_up(layer: ScriptedNativeLayer) -> Iterator[threading.Event]:
    """The layer answers nobody before the event is set, which is so in the end."""
    go_on = threading.Event()
    layer.act = lambda: go_on.wait(SECONDS)
    try:
        yield go_on
    finally:
        go_on.set()


def test_a_drain_waits_for_the_answer(desk: Desk, layer: ScriptedNativeLayer) -> None:
    with conversing(desk) as caller, held_up(layer) as go_on:
        caller.say(FRAME)
        assert layer.asked.wait(SECONDS)
        assert desk.in_flight.count == 1
        assert not desk.is_quiet_for(caller)
        assert not desk.drain(0.1)
        go_on.set()
        answer = caller.hear()
        assert answer is not None and answer.status == OK
        assert desk.drain(SECONDS)
        assert "stopping" in bytes(caller.ask(FRAME).payload).decode()
    assert layer.native_calls == 1


def test_a_call_is_in_flight_until_its_answer_left(desk: Desk, layer: ScriptedNativeLayer) -> None:
    calls = frame_of(plain_call(HIDDEN, rows=64)) * 2000
    with conversing(desk) as caller, ThreadPoolExecutor(1) as speaker:
        spoken = speaker.submit(caller.say, calls)
        _wait_for(lambda: _stands_still(lambda: layer.native_calls))
        assert not desk.drain(0.1)
        for _ in range(2000):
            assert caller.hear() is not None
        spoken.result()
        assert desk.drain(SECONDS)


def test_who_leaves_waits_for_native_calls_to_cease(desk: Desk) -> None:
    with conversing(desk) as caller, ThreadPoolExecutor(1) as other:
        left = other.submit(desk.wait_until_left, quiet_seconds=1.0, timeout_seconds=SECONDS)
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


def who_waits(desk: Desk) -> threading.Event:
    """Set once Python waits for a native forward."""
    waits = threading.Event()
    native = desk.native
    assert native is not None

    def wait() -> None:
        waits.set()
        native.wait_until_free()

    desk.shard().share_device(wait)
    return waits


def test_nobody_who_waits_is_overtaken() -> None:
    """A second stream comes while the first one computes, and has its answer before the first one's next."""
    layers = ScriptedNativeLayer(HIDDEN), ScriptedNativeLayer(HIDDEN)
    desk = desk_of(*layers)
    waits, computed = who_waits(desk), list[str]()
    layers[1].act = lambda: computed.append("the first one's next")
    with conversing(desk) as first, conversing(desk) as second:
        with held_up(layers[0]) as go_on:
            first.say(FRAME + frame_of(plain_call(HIDDEN, layer=1)))
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
    desk: Desk, layer: ScriptedNativeLayer
) -> None:
    waits, computed = who_waits(desk), list[int]()
    with conversing(desk) as first, conversing(desk) as second, conversing(desk) as third:
        with held_up(layer) as go_on:
            first.say(FRAME)
            assert layer.asked.wait(SECONDS)
            second.say(frame_of(plain_call(HIDDEN, rows=2)))
            assert waits.wait(SECONDS)
            third.say(frame_of(plain_call(HIDDEN, rows=2)))
            _wait_for(lambda: desk.shard().waiting == 1)
            layer.act = lambda: computed.append(len(layer.rows))
            go_on.set()
        for caller in (first, second, third):
            answer = caller.hear()
            assert answer is not None and answer.status == OK
    assert computed == [4]


def test_waiting_for_a_native_forward_counts_as_waiting(desk: Desk, layer: ScriptedNativeLayer) -> None:
    waits = who_waits(desk)
    with conversing(desk) as first, conversing(desk) as second:
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


def test_a_connection_that_is_reset_ends_the_conversation(desk: Desk, layer: ScriptedNativeLayer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    caller = _caller_over(desk, ours, theirs)
    caller.ask(FRAME)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.close()
    assert isinstance(caller.error, ConnectionResetError)
    assert caller.error.errno == errno.ECONNRESET
    assert layer.native_calls == 1


def _caller_over(desk: Desk, ours: socket.socket, theirs: socket.socket) -> Caller:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("conversations.socket.socketpair", lambda: (ours, theirs))
        return Caller(desk)


def test_an_end_inside_a_frame_ends_the_conversation(desk: Desk) -> None:
    with conversing(desk) as caller:
        caller.say(FRAME[:-1])
        caller.hang_up()
        assert caller.hear_all() == []
        caller.wait()
        assert isinstance(caller.error, ConnectionResetError)


def test_an_end_between_two_frames_is_no_error(desk: Desk) -> None:
    with conversing(desk) as caller:
        caller.ask(FRAME)
        caller.hang_up()
        caller.wait()
        assert caller.error is None


def test_an_interrupt_wakes_who_waits_for_a_frame(desk: Desk) -> None:
    with conversing(desk) as caller:
        caller.ask(FRAME)
        caller.interrupt()
        caller.wait()
        assert caller.error is None


def test_who_takes_no_answers_holds_nobody_else_up(desk: Desk, layer: ScriptedNativeLayer) -> None:
    with conversing(desk) as deaf, conversing(desk) as other, ThreadPoolExecutor(1) as speaker:
        speaker.submit(deaf.say, frame_of(plain_call(HIDDEN, rows=64)) * 2000)
        _wait_for(lambda: _stands_still(lambda: layer.native_calls))
        assert bytes(other.ask(FRAME).payload) == SUMS
        deaf.interrupt()


def test_many_streams_at_once_get_their_own_answers() -> None:
    layers = [ScriptedNativeLayer(HIDDEN) for _ in range(4)]
    desk = desk_of(*layers)

    def ask_often(number: int) -> None:
        with conversing(desk) as caller:
            for index in range(200):
                call = plain_call(HIDDEN, rows=1 + (number + index) % 5, layer=index % 4)
                answer = caller.ask(frame_of(call, call_id=index + 1))
                assert answer.call_id == index + 1
                assert bytes(answer.payload) == call.rows.tobytes() + call.exponents.tobytes()

    with ThreadPoolExecutor(8) as callers:
        list(callers.map(ask_often, range(8)))
    assert desk.in_flight.total == 8 * 200
    assert desk.in_flight.count == 0
    assert 0 < sum(layer.native_calls for layer in layers) <= 8 * 200


def test_layers_may_be_swapped_while_streams_ask() -> None:
    before, after = ScriptedNativeLayer(HIDDEN), ScriptedNativeLayer(HIDDEN)
    desk = desk_of(before)
    with conversing(desk) as caller:
        for layer in (after, before) * 20:
            with held_up(before if layer is after else after) as go_on, ThreadPoolExecutor(1) as other:
                caller.say(FRAME)
                assert (before if layer is after else after).asked.wait(SECONDS)
                swapped = other.submit(desk.hold, (layer,))
                go_on.set()
                swapped.result()
                answer = caller.hear()
                assert answer is not None and np.array_equal(bytes(answer.payload), SUMS)
                before.asked.clear()
                after.asked.clear()
    assert before.native_calls == after.native_calls == 20


def test_no_call_is_before_a_swap_that_waits() -> None:
    before, after = ScriptedNativeLayer(HIDDEN), ScriptedNativeLayer(HIDDEN)
    desk = desk_of(before)
    with conversing(desk) as caller, ThreadPoolExecutor(1) as other, held_up(before) as go_on:
        caller.say(FRAME * 20)
        assert before.asked.wait(SECONDS)
        swapped = other.submit(desk.hold, (after,))
        with pytest.raises(TimeoutError):
            swapped.result(0.2)
        go_on.set()
        for _ in range(20):
            answer = caller.hear()
            assert answer is not None and bytes(answer.payload) == SUMS
        swapped.result()
    assert before.native_calls == 1
