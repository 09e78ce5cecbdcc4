"""Frames: what is written is read, in whatever pieces it comes, and lies are refused."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jangtq_proto.errors import CallRejectedError
from jangtq_proto.sockets.frame_socket import FrameLimitError, FrameSocket
from jangtq_proto.wire.codec import CallShape, LayerCall, decode_call, row_dtype
from jangtq_proto.wire.frames import (
    LENGTH,
    TICKET_BYTES,
    answer_frame,
    call_frame,
    decode_answer,
    failure_frame,
    greeting,
    read_answer,
    read_call,
    read_greeting,
)
from jangtq_proto.wire.row_type import RowType

HIDDEN = 5
SHAPE = CallShape(layer_count=3, hidden_size=HIDDEN)
LIMIT = 1 << 20
SECONDS = 30


def some_call(rows: int, slots: int) -> LayerCall:
    random = np.random.default_rng(rows * 100 + slots)
    return LayerCall(
        layer=2,
        rows=random.standard_normal((rows, HIDDEN)).astype(np.float32),
        expert_ids=random.integers(-1, 9, (rows, slots), dtype=np.int32),
        router_weights=random.random((rows, slots), dtype=np.float32),
        exponents=random.integers(-128, 128, rows, dtype=np.int8),
        prefill=bool(rows % 2),
    )


def send_after_looks(sock: socket.socket, looks: list[int], count: int) -> None:
    while len(looks) < count:
        time.sleep(0.001)
    sock.sendall(LENGTH.pack(1) + b"x")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, FrameSocket]]:
    """A plain socket, and the frames on its other end."""
    left, right = socket.socketpair()
    frames = FrameSocket(right)
    with left:
        yield left, frames
    frames.close()


@given(rows=st.integers(1, 9), slots=st.integers(1, 8), row_type=st.sampled_from(list(RowType)))
def test_a_call_comes_back_as_it_went(rows: int, slots: int, row_type: RowType) -> None:
    call = some_call(rows, slots)
    message = read_call(call_frame(2**40, call, row_type))
    back = decode_call(message, SHAPE)
    assert (message.call_id, back.layer) == (2**40, call.layer)
    np.testing.assert_array_equal(back.rows, call.rows.astype(row_dtype(row_type)))
    np.testing.assert_array_equal(back.expert_ids, call.expert_ids)
    np.testing.assert_array_equal(back.router_weights, call.router_weights)
    np.testing.assert_array_equal(back.exponents, call.exponents)
    assert back.prefill == call.prefill


def test_answers_and_failures_come_back_as_they_went() -> None:
    sums, finest = np.arange(6, dtype=np.int32).reshape(2, 3), np.array([-9, 4], dtype=np.int8)
    answer = read_answer(answer_frame(7, sums, finest, queue_ns=2**33, compute_ns=4))
    assert (answer.call_id, answer.status) == (7, 0)
    for given_array, back in zip((sums, finest), decode_answer(answer, (2, 3)), strict=True):
        np.testing.assert_array_equal(back, given_array)
    assert (answer.queue_ns, answer.compute_ns) == (2**33, 4)
    failure = read_answer(failure_frame(8, 3, "zu groß"))
    assert (failure.call_id, failure.status, bytes(failure.payload).decode()) == (8, 3, "zu groß")


@given(data=st.binary(max_size=120))
def test_no_bytes_are_taken_for_what_they_are_not(data: bytes) -> None:
    """Whatever comes is refused in the project's own words, or has the fields that it says."""
    frame = memoryview(data)
    try:
        call = read_call(frame)
    except CallRejectedError:
        pass
    else:
        sizes = map(len, (call.rows, call.expert_ids, call.router_weights, call.exponents))
        assert sum(sizes) + 48 == len(data)
    with pytest.raises(CallRejectedError):
        read_greeting(frame)
    if len(data) < 36:
        with pytest.raises(CallRejectedError, match="at least 36 bytes"):
            read_answer(frame)


def test_a_greeting_carries_its_ticket() -> None:
    ticket = bytes(range(TICKET_BYTES))
    assert read_greeting(memoryview(greeting(ticket))) == ticket
    with pytest.raises(CallRejectedError, match="begins with b'JANGTQX5', not b'HTTP/1.1'"):
        read_greeting(memoryview(greeting(ticket).replace(b"JANGTQX5", b"HTTP/1.1")))


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(0, 150_000), min_size=1, max_size=4), cut=st.integers(1, 70_000))
def test_frames_come_through_whole_however_they_are_cut(sizes: list[int], cut: int) -> None:
    bodies = [bytes([i]) * size for i, size in enumerate(sizes)]
    data = b"".join(LENGTH.pack(len(body)) + body for body in bodies)
    cut = max(cut, len(data) // 100)
    left, right = socket.socketpair()
    frames = FrameSocket(right)

    def send() -> None:
        with left:
            for start in range(0, len(data), cut):
                left.sendall(data[start : start + cut])

    sender = threading.Thread(target=send)
    sender.start()
    received = [bytes(frame) for frame in iter(lambda: frames.receive(LIMIT), None)]
    sender.join()
    frames.close()
    assert received == [LENGTH.pack(len(body)) + body for body in bodies]


def test_a_larger_frame_may_come_while_arrays_look_at_the_last_one(
    ends: tuple[socket.socket, FrameSocket],
) -> None:
    plain, frames = ends
    plain.sendall(LENGTH.pack(4) + b"abcd")
    small = frames.receive(LIMIT)
    assert small is not None and small.readonly
    sender = threading.Thread(target=plain.sendall, args=(LENGTH.pack(500_000) + bytes(500_000),))
    sender.start()
    large = frames.receive(LIMIT)
    sender.join()
    assert large is not None and len(large) == 500_004


def test_a_frame_above_the_limit_is_refused_before_it_is_read(
    ends: tuple[socket.socket, FrameSocket],
) -> None:
    plain, frames = ends
    plain.sendall(LENGTH.pack(2**32 - 1))
    with pytest.raises(FrameLimitError, match="at most 1000 are allowed"):
        frames.receive(1000)


def test_an_end_inside_a_frame_is_a_break_and_between_two_is_not() -> None:
    for sent, error in ((b"", None), (LENGTH.pack(8) + b"half", ConnectionResetError)):
        left, right = socket.socketpair()
        frames = FrameSocket(right)
        with left:
            left.sendall(sent)
        if error is None:
            assert frames.receive(LIMIT) is None
        else:
            with pytest.raises(error, match="inside a frame"):
                frames.receive(LIMIT)
        frames.close()


@pytest.mark.parametrize("poll_us", [0, 2000])
def test_silence_is_noticed_with_and_without_polling(poll_us: int) -> None:
    left, right = socket.socketpair()
    frames = FrameSocket(right, poll_us=poll_us)
    frames.set_timeout(0.05)
    with left:
        with pytest.raises(TimeoutError):
            frames.receive(LIMIT)
        left.sendall(LENGTH.pack(1) + b"x")
        frame = frames.receive(LIMIT)
        assert frame is not None and bytes(frame) == LENGTH.pack(1) + b"x"
    frames.close()


class WatchedSocket(socket.socket):
    """Remembers how it was read from."""

    flags: list[int]

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self.flags.append(flags)
        return super().recv_into(buffer, nbytes, flags)


def test_whoever_polls_does_not_sleep_before_the_time_is_over() -> None:
    left, plain = socket.socketpair()
    watched = WatchedSocket(fileno=plain.detach())
    watched.flags = []
    frames = FrameSocket(watched, poll_us=SECONDS * 1_000_000)
    with left:
        for _ in range(3):
            looks = len(watched.flags) + 3
            sender = threading.Thread(target=send_after_looks, args=(left, watched.flags, looks))
            sender.start()
            assert frames.receive(LIMIT) is not None
            sender.join()
    assert set(watched.flags) == {socket.MSG_DONTWAIT}
    frames.close()


def test_a_frame_that_drips_is_silence_too(ends: tuple[socket.socket, FrameSocket]) -> None:
    plain, frames = ends
    frames.set_timeout(0.2)
    stop = threading.Event()

    def drip() -> None:
        plain.sendall(LENGTH.pack(10_000))
        while not stop.wait(0.005):
            plain.sendall(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        # The second where the machine is so busy that even the drops are late.
        with pytest.raises(TimeoutError, match="too slowly|stayed silent"):
            frames.receive(LIMIT)
    finally:
        stop.set()
        dripping.join()


def test_whoever_takes_nothing_is_noticed(ends: tuple[socket.socket, FrameSocket]) -> None:
    _, frames = ends
    frames.set_timeout(0.05)
    body = bytes(8 << 20)
    with pytest.raises(TimeoutError, match="takes nothing"):
        frames.send(struct.pack("<I", len(body)) + body)


def test_a_thread_that_waits_can_be_woken(ends: tuple[socket.socket, FrameSocket]) -> None:
    _, frames = ends
    received: list[memoryview | None] = []
    waiting = threading.Thread(target=lambda: received.append(frames.receive(LIMIT)))
    waiting.start()
    frames.interrupt()
    waiting.join(30)
    assert received == [None]
