"""Listening sockets, and a thread for each accepted connection. Knows no calls."""

import contextlib
import logging
import selectors
import socket
import threading
from collections.abc import Callable, Sequence

from jangtq_kernels.apple import ask_for_fast_cores

_PAUSE_SECONDS = 0.1
_END_SECONDS = 2.0
_log = logging.getLogger("jangtq.worker.express")


class Acceptor:
    """Runs `host` in a thread for each connection; the thread ends with it."""

    def __init__(
        self, listeners: Sequence[socket.socket], host: Callable[[socket.socket], None], *, most: int
    ) -> None:
        self._listeners = tuple(listeners)
        self._host = host
        self._places = threading.BoundedSemaphore(most)
        self._closing, self._close_signal = socket.socketpair()
        self._thread = threading.Thread(target=self._accept_all, name="express-accept", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop accepting."""
        self._close_signal.close()
        self._thread.join(_END_SECONDS)

    def _accept_all(self) -> None:
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
            for listener in (*self._listeners, self._closing):
                stack.callback(listener.close)
                listener.setblocking(False)
                selector.register(listener, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._closing in ready:
                    return
                for listener in self._listeners:
                    if listener in ready:
                        self._accept(listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            _log.warning("cannot accept a connection: %s", error)
            threading.Event().wait(_PAUSE_SECONDS)
            return
        if not self._places.acquire(blocking=False):
            _log.warning("refused a connection: there are too many")
            connection.close()
            return
        threading.Thread(target=self._serve, args=(connection,), name="express", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        ask_for_fast_cores()
        try:
            with connection:
                self._host(connection)
        finally:
            self._places.release()
