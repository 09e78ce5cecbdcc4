"""Notices when somebody who was asked falls silent, without a thread a question."""

import threading
import time
from collections.abc import Callable

_CHECKS_PER_TIMEOUT = 20
_LONGEST_CHECK_SECONDS = 0.05


class SilenceWatch:
    """Told by `begin` and `end` of each wait.

    `on_silence` runs once, in a thread of the watch, when a wait outlasts the timeout or `give_up` says so.
    """

    def __init__(self, timeout_seconds: float, on_silence: Callable[[], object]) -> None:
        self._timeout_seconds = timeout_seconds
        self._on_silence = on_silence
        self._wait: tuple[float, Callable[[], bool]] | None = None
        self._waited_seconds: float | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="silence-watch", daemon=True).start()

    @property
    def waited_seconds(self) -> float | None:
        """How long the wait was that was given up, if one was."""
        return self._waited_seconds

    def stop(self) -> None:
        """End the watching."""
        self._stopped.set()

    def begin(self, give_up: Callable[[], bool]) -> None:
        """A wait begins."""
        self._wait = (time.monotonic(), give_up)

    def end(self) -> None:
        """It is over."""
        self._wait = None

    def _watch(self) -> None:
        interval = min(self._timeout_seconds / _CHECKS_PER_TIMEOUT, _LONGEST_CHECK_SECONDS)
        while not self._stopped.wait(interval):
            if (wait := self._wait) is None:
                continue
            since, give_up = wait
            waited = time.monotonic() - since
            if waited > self._timeout_seconds or give_up():
                self._waited_seconds = min(waited, self._timeout_seconds)
                self._on_silence()
                return
