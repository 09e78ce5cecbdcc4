"""Frames of plain sockets in native code: whole frames only, and nothing read is lost otherwise."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from jangtq_kernels.native_sockets import RECEIVED, open_receiver
from jangtq_proto.sockets.frame_socket import FrameSocket
from jangtq_proto.sockets.inbox import Inbox

SILENT, ENDED, TOO_LARGE = 1, 2, 3


def frame(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content


class Pair:
    """Two ends, of which ours is received natively."""

    def __init__(self, *, poll_us: int) -> None:
        ours, self.theirs = socket.socketpair()
        self.frames = FrameSocket(ours, poll_us=poll_us)
        receive = open_receiver()
        assert receive is not None, "the library was compiled"
        self._receive: Callable[[int], int] = receive

    def receive(self) -> int:
        return self._receive(self.inbox.address)

    @property
    def inbox(self) -> Inbox:
        inbox = self.frames.plain_inbox()
        assert inbox is not None, "the socket is plain"
        return inbox

    def take(self) -> bytes:
        """The next frame, by way of Python, which goes on where native code stopped."""
        found = self.frames.receive(1 << 20)
        assert found is not None, "the other side sent one"
        return bytes(found)


@pytest.fixture(params=[0, 200], ids=["sleeping", "polling"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    pair = Pair(poll_us=request.param)
    yield pair
    pair.frames.close()
    pair.theirs.close()


def test_a_frame_in_pieces_is_one_frame(pair: Pair) -> None:
    sent = frame(b"hello")
    for i in range(len(sent) - 1):
        pair.theirs.sendall(sent[i : i + 1])
    rest = threading.Timer(0.01, pair.theirs.sendall, (sent[-1:],))
    rest.start()
    assert pair.receive() == RECEIVED
    rest.join()
    assert pair.take() == sent


def test_frames_that_came_together_are_taken_one_by_one(pair: Pair) -> None:
    pair.theirs.sendall(frame(b"one") + frame(b"three")[:6])
    assert pair.receive() == RECEIVED and pair.take() == frame(b"one")
    pair.theirs.sendall(frame(b"three")[6:])
    assert pair.receive() == RECEIVED and pair.take() == frame(b"three")


def test_a_silent_peer_loses_nothing(pair: Pair) -> None:
    pair.frames.set_timeout(0.01)
    pair.theirs.sendall(frame(b"late")[:3])
    assert pair.receive() == SILENT and pair.inbox.state.filled == 3
    pair.theirs.sendall(frame(b"late")[3:])
    assert pair.receive() == RECEIVED and pair.take() == frame(b"late")


def test_an_end_is_told_and_python_finds_it_again(pair: Pair) -> None:
    pair.theirs.sendall(b"\x05")
    pair.theirs.shutdown(socket.SHUT_WR)
    assert pair.receive() == ENDED
    with pytest.raises(ConnectionResetError):
        pair.frames.receive(100)


def test_a_frame_beyond_the_memory_is_left_to_python(pair: Pair) -> None:
    large = frame(bytes(100_000))
    sending = threading.Thread(target=pair.theirs.sendall, args=(large,))
    sending.start()
    assert pair.receive() == TOO_LARGE
    assert pair.take() == large
    sending.join()
    pair.theirs.sendall(frame(b"next"))
    assert pair.receive() == RECEIVED and pair.take() == frame(b"next")
