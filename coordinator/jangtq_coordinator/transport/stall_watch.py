"""Ends waits for a silent worker, with one thread for all calls of a stream."""

import threading
import time
from collections.abc import Callable

_CHECKS_PER_TIMEOUT = 20
_LONGEST_CHECK_SECONDS = 0.05


class StallWatch:
    """`wait` holds the start of the current wait, and a function that ends it early; None without a wait.

    `on_silence` runs once, in the watch's thread, when a wait outlasts the timeout or ends early.
    """

    def __init__(self, timeout_seconds: float, on_silence: Callable[[], object]) -> None:
        self._timeout_seconds = timeout_seconds
        self._on_silence = on_silence
        self.wait: tuple[float, Callable[[], bool]] | None = None
        self._waited_seconds: float | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="silence-watch", daemon=True).start()

    @property
    def waited_seconds(self) -> float | None:
        """The length of the wait that was ended, if any."""
        return self._waited_seconds

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()

    def _watch(self) -> None:
        interval = min(self._timeout_seconds / _CHECKS_PER_TIMEOUT, _LONGEST_CHECK_SECONDS)
        while not self._stopped.wait(interval):
            if (wait := self.wait) is None:
                continue
            since, give_up = wait
            waited = time.monotonic() - since
            if waited > self._timeout_seconds or give_up():
                self._waited_seconds = min(waited, self._timeout_seconds)
                self._on_silence()
                return
