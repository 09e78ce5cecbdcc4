"""Memory of received bytes: it keeps what was not taken, and old readers keep what they look at."""

import ctypes

from jangtq_proto.sockets.inbox import Inbox


def filled(content: bytes) -> Inbox:
    inbox = Inbox(7, poll_ns=5)
    inbox.view[: len(content)] = content
    inbox.state.filled = len(content)
    return inbox


def test_its_state_says_where_its_memory_is() -> None:
    inbox = filled(b"abc")
    assert (inbox.state.socket, inbox.state.poll_ns, inbox.state.capacity) == (7, 5, len(inbox.view))
    assert ctypes.string_at(inbox.state.memory, 3) == b"abc"
    assert ctypes.addressof(inbox.state) == inbox.address


def test_growing_keeps_the_content_and_the_old_memory() -> None:
    inbox = filled(b"abc")
    before, address = inbox.view, inbox.address
    inbox.grow(1 << 20)
    inbox.view[:1] = b"x"
    assert bytes(before[:3]) == b"abc" and inbox.address == address
    assert ctypes.string_at(inbox.state.memory, 3) == b"xbc" and inbox.state.capacity == 1 << 20


def test_dropping_keeps_what_follows() -> None:
    inbox = filled(b"abcdef")
    inbox.drop(4)
    assert bytes(inbox.view[: inbox.state.filled]) == b"ef"
    inbox.drop(2)
    assert inbox.state.filled == 0
