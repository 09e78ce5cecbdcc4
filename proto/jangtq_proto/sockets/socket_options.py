"""Options of plain sockets, and polling."""

import math
import os
import socket
import struct
import time
from typing import Final

_KEEPALIVE_SECONDS: Final = 30


def tune(sock: socket.socket) -> None:
    """Send without delay, and detect a machine that is gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    if idle is not None:
        sock.setsockopt(socket.IPPROTO_TCP, idle, _KEEPALIVE_SECONDS)


def set_kernel_timeout(sock: socket.socket, option: int, seconds: float) -> None:
    """In the kernel rather than in Python, whose sockets ask with poll before each call."""
    whole, part = divmod(seconds, 1)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(whole), math.ceil(part * 1e6)))


def poll(sock: socket.socket, view: memoryview, nanoseconds: int) -> int | None:
    """Look again and again for a while: a thread that never sleeps need not be woken.

    Returns the bytes received, None where none came. Where there are fewer cores than pollers, a thread
    with work goes first.
    """
    end = time.perf_counter_ns() + nanoseconds
    while True:
        try:
            return sock.recv_into(view, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            if time.perf_counter_ns() > end:
                return None
        os.sched_yield()
