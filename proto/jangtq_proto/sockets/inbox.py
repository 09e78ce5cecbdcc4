"""What was read from a connection and not taken yet, at an address that native code may use."""

import ctypes

import numpy as np

_FIRST_BYTES = 1 << 16


class InboxState(ctypes.Structure):
    """JangtqInboxState of kernels/native/sockets/inbox.h."""

    _fields_ = [
        ("socket", ctypes.c_int64),
        ("memory", ctypes.c_void_p),
        ("capacity", ctypes.c_int64),
        ("filled", ctypes.c_int64),
        ("poll_ns", ctypes.c_int64),
    ]

    socket: int
    memory: int
    capacity: int
    filled: int
    poll_ns: int


class Inbox:
    """Used by one thread. `state` stays where it is; its memory moves when the inbox grows."""

    def __init__(self, socket: int, *, poll_ns: int) -> None:
        self.state = InboxState(socket=socket, poll_ns=poll_ns)
        self.address = ctypes.addressof(self.state)
        self.view = memoryview(b"")
        self.grow(_FIRST_BYTES)

    def grow(self, nbytes: int) -> None:
        """New memory, because readers may still look at the old one; the content is kept."""
        array = np.empty(nbytes, dtype=np.uint8)
        view, filled = array.data, self.state.filled
        view[:filled] = self.view[:filled]
        self.view, self.state.memory, self.state.capacity = view, array.ctypes.data, nbytes

    def drop(self, nbytes: int) -> None:
        """Remove the first bytes."""
        rest = self.state.filled - nbytes
        if rest and nbytes:
            self.view[:rest] = bytes(self.view[nbytes : self.state.filled])
        self.state.filled = rest
