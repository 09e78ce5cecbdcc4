"""Keeps a GPU awake while a coordinator is connected. Knows no transport and no kernel.

A GPU that rests for more than a second answers its next call up to a second late (reported with 96 GB wired;
see docs/performance-model.md). A trivial kernel now and then prevents that; a GPU that nobody has asked for
minutes may rest.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

PERIOD_SECONDS: Final = 0.5
REST_AFTER_SECONDS: Final = 300.0

_log = logging.getLogger("jangtq.worker")


class KeepWarm:
    """Runs `touch`, a trivial kernel, in a thread of its own.

    streams: how many coordinators are connected. calls: how many calls there were since the start.
    """

    def __init__(
        self,
        touch: Callable[[], None],
        *,
        streams: Callable[[], int],
        calls: Callable[[], int],
        period_seconds: float = PERIOD_SECONDS,
        rest_after_seconds: float = REST_AFTER_SECONDS,
    ) -> None:
        self._touch = touch
        self._streams = streams
        self._calls = calls
        self._period_seconds = period_seconds
        self._rest_after_seconds = rest_after_seconds
        self._seen_calls = 0
        self._busy_at = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keep-warm", daemon=True)

    def start(self) -> None:
        """Begin; nothing is touched before the first call."""
        self._thread.start()

    def stop(self) -> None:
        """Returns when nothing is touched any more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self, now: float) -> bool:
        """Touch the GPU if it is to stay awake at this time of a monotonic clock; whether it was touched."""
        calls = self._calls()
        if calls != self._seen_calls:
            # A call that came since has kept it awake itself.
            self._seen_calls, self._busy_at = calls, now
            return False
        if not self._streams() or now - self._busy_at > self._rest_after_seconds:
            return False
        self._touch()
        return True

    def _run(self) -> None:
        while not self._stop.wait(self._period_seconds):
            try:
                self.step(time.monotonic())
            except Exception:
                _log.exception("the device cannot be kept awake")
                return
