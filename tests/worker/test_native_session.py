"""Conversations that go on without the interpreter: what is heard, and how they end."""

import errno
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jangtq_proto.wire.frames import OK
from jangtq_worker.device.admission import Admission
from tests.support.express_sessions import (
    FRAME,
    HIDDEN,
    SUMS,
    Caller,
    conversing,
    frame_of,
    payload_of,
    plain_call,
)
from tests.support.native_layers import ScriptedNativeLayer, scripted_admission


@pytest.fixture
def layer() -> ScriptedNativeLayer:
    return ScriptedNativeLayer(HIDDEN)


@pytest.fixture
def admission(layer: ScriptedNativeLayer) -> Admission:
    return scripted_admission(layer)


def test_ordinary_calls_never_reach_the_interpreter(admission: Admission, layer: ScriptedNativeLayer) -> None:
    with conversing(admission) as caller:
        for count in range(1, 4):
            answer = caller.ask(FRAME)
            assert (answer.status, bytes(answer.payload)) == (OK, SUMS)
            assert layer.native_calls == admission.in_flight.total == count
    assert admission.in_flight.count == 0


def test_polling_finds_the_same_answers(admission: Admission, layer: ScriptedNativeLayer) -> None:
    with conversing(admission, poll_us=2000) as caller:
        for pause_seconds in (0, 0.01, 0):
            time.sleep(pause_seconds)
            assert bytes(caller.ask(FRAME).payload) == SUMS
    assert layer.native_calls == 3


def test_times_tell_how_long_the_layer_took(admission: Admission, layer: ScriptedNativeLayer) -> None:
    layer.act = lambda: time.sleep(0.02)
    with conversing(admission) as caller:
        started = time.perf_counter_ns()
        answer = caller.ask(FRAME)
        passed = time.perf_counter_ns() - started
    assert answer.compute_ns >= 20_000_000
    assert answer.queue_ns >= 0 and answer.queue_ns + answer.compute_ns <= passed


def test_answers_larger_than_the_socket_takes_at_once_arrive_whole(
    admission: Admission, layer: ScriptedNativeLayer
) -> None:
    call = plain_call(rows=64)
    with conversing(admission) as caller, ThreadPoolExecutor(1) as speaker:
        spoken = speaker.submit(caller.say, frame_of(call) * 300)
        for _ in range(300):
            answer = caller.hear()
            assert answer is not None
            assert bytes(answer.payload) == payload_of(call)
        spoken.result()
    assert layer.native_calls == 300


def test_a_connection_that_is_reset_ends_the_session(
    admission: Admission, layer: ScriptedNativeLayer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    caller = _caller_over(admission, ours, theirs)
    caller.ask(FRAME)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.close()
    assert isinstance(caller.error, ConnectionResetError)
    assert caller.error.errno == errno.ECONNRESET
    assert layer.native_calls == 1


def _caller_over(admission: Admission, ours: socket.socket, theirs: socket.socket) -> Caller:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.support.express_sessions.socket.socketpair", lambda: (ours, theirs))
        return Caller(admission)


def test_an_end_inside_a_frame_ends_the_conversation(admission: Admission) -> None:
    with conversing(admission) as caller:
        caller.say(FRAME[:-1])
        caller.hang_up()
        assert caller.hear_all() == []
        caller.wait()
        assert isinstance(caller.error, ConnectionResetError)


def test_an_end_between_two_frames_is_no_error(admission: Admission) -> None:
    with conversing(admission) as caller:
        caller.ask(FRAME)
        caller.hang_up()
        caller.wait()
        assert caller.error is None


def test_an_interrupt_wakes_who_waits_for_a_frame(admission: Admission) -> None:
    with conversing(admission) as caller:
        caller.ask(FRAME)
        caller.interrupt()
        caller.wait()
        assert caller.error is None
