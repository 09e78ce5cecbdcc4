"""A connected socket that carries frames both ways, plain or inside TLS. Knows no calls."""

import contextlib
import math
import os
import select
import socket
import ssl
import time
from collections.abc import Callable

from jangtq_proto.sockets.inbox import Inbox
from jangtq_proto.sockets.socket_options import poll, set_kernel_timeout
from jangtq_proto.wire.frames import LENGTH

_CHECK_SECONDS = 0.05
_TAKES_NOTHING = "the other side takes nothing"


class FrameLimitError(OSError):
    """The other side announced a frame larger than is allowed; nothing after it can be read."""


def _never() -> bool:
    return False


class FrameSocket:
    """Used by one thread; any other may call `interrupt`. Silence raises TimeoutError, a break OSError."""

    def __init__(self, sock: socket.socket, *, poll_us: int = 0) -> None:
        self._socket = sock
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._poll_ns = poll_us * 1000
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._inbox = Inbox(sock.fileno(), poll_ns=self._poll_ns)
        self._state = self._inbox.state
        self._frame_size = 0
        self._deadline = math.inf
        self._give_up = _never
        sock.setblocking(True)
        self.set_timeout(None)

    def set_timeout(self, seconds: float | None) -> None:
        """Seconds that the other side may be silent; None waits for ever."""
        self._timeout_seconds = seconds
        if self._is_tls:
            self._socket.settimeout(seconds)
        else:
            set_kernel_timeout(self._socket, socket.SO_SNDTIMEO, seconds or 0.0)
            set_kernel_timeout(self._socket, socket.SO_RCVTIMEO, min(seconds or 0.0, _CHECK_SECONDS))

    def send(self, frame: bytes | memoryview, *, reading_up_to: int = 0) -> None:
        """Where the other side may be sending, too, and takes nothing until it is heard, up to
        `reading_up_to` bytes of what it says are read meanwhile.
        """
        if reading_up_to:
            self._send_reading(memoryview(frame), reading_up_to)
            return
        try:
            self._socket.sendall(frame)
        except BlockingIOError as error:
            raise TimeoutError(_TAKES_NOTHING) from error

    def receive(self, limit_bytes: int, give_up: Callable[[], bool] = _never) -> memoryview | None:
        """The next frame with its length, good until the next call; None where the connection ended.

        Where there is a timeout, `give_up` is asked now and then, and ends the wait like the timeout.
        """
        self._drop_frame()
        self._deadline, self._give_up = math.inf, give_up
        if not self._fill(LENGTH.size):
            return None
        size = LENGTH.size + int(LENGTH.unpack_from(self._inbox.view)[0])
        if size > limit_bytes:
            raise FrameLimitError(f"a frame of {size} bytes: at most {limit_bytes} are allowed")
        if self._state.filled < size:
            self._fill(size)
        self._frame_size = size
        return self._inbox.view[:size].toreadonly()

    def plain_inbox(self) -> Inbox | None:
        """Where native code may receive in place of `receive`; None inside TLS."""
        if self._is_tls:
            return None
        if self._frame_size:
            self._drop_frame()
        return self._inbox

    def interrupt(self) -> None:
        """End the connection, and wake the thread that waits for it."""
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown, which takes the encryption from under a thread that reads.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _send_reading(self, data: memoryview, most_unread: int) -> None:
        self._socket.setblocking(False)
        try:
            while data:
                try:
                    data = data[self._socket.send(data) :]
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    self._make_way(most_unread)
        finally:
            self._socket.setblocking(True)
            self.set_timeout(self._timeout_seconds)

    def _make_way(self, most_unread: int) -> None:
        """Wait until something can be sent, or read what there is."""
        wanted = select.POLLOUT | (select.POLLIN if self._state.filled < most_unread else 0)
        poller = select.poll()
        poller.register(self._socket, wanted)
        timeout = self._timeout_seconds
        ready = poller.poll(None if timeout is None else timeout * 1000)
        if not ready:
            raise TimeoutError(_TAKES_NOTHING)
        if ready[0][1] & select.POLLIN:
            filled = self._state.filled
            if filled == self._state.capacity:
                self._inbox.grow(2 * filled)
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                self._state.filled += self._socket.recv_into(self._inbox.view[filled:])

    def _drop_frame(self) -> None:
        self._inbox.drop(self._frame_size)
        self._frame_size = 0

    def _fill(self, size: int) -> bool:
        """Read until `size` bytes are there; False where the connection ended between two frames."""
        state = self._state
        if size > state.capacity:
            self._inbox.grow(size)
        while state.filled < size:
            count = self._receive_into(self._inbox.view[state.filled :])
            if count == 0:
                if state.filled == 0:
                    return False
                raise ConnectionResetError("the connection ended inside a frame")
            state.filled += count
            if state.filled < size:
                self._check_deadline("a frame came too slowly")
        return True

    def _receive_into(self, view: memoryview) -> int:
        if isinstance(self._socket, ssl.SSLSocket):
            self._wait_for_tls(self._socket)
        elif self._poll_ns:
            count = poll(self._socket, view, self._poll_ns)
            if count is not None:
                return count
        while True:
            try:
                return self._socket.recv_into(view)
            except BlockingIOError:
                self._check_deadline("the other side stayed silent")

    def _check_deadline(self, words: str) -> None:
        """The time starts with the first check, so that no clock is read without a wait."""
        if self._timeout_seconds is None:
            return
        now = time.monotonic()
        self._deadline = min(self._deadline, now + self._timeout_seconds)
        if now > self._deadline or self._give_up():
            raise TimeoutError(words)

    def _wait_for_tls(self, sock: ssl.SSLSocket) -> None:
        """Looks before it reads, because a timeout of the encryption would hold for sending, too."""
        if self._poll_ns:
            end = time.perf_counter_ns() + self._poll_ns
            while not sock.pending() and not self._poller.poll(0) and time.perf_counter_ns() < end:
                os.sched_yield()
        if self._timeout_seconds is not None:
            while not sock.pending() and not self._poller.poll(_CHECK_SECONDS * 1000):
                self._check_deadline("the other side stayed silent")
