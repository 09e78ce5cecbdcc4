"""Notices when somebody who was asked falls silent, without a thread a question."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

_CHECKS_PER_TIMEOUT = 20


class SilenceWatch:
    """`with watch:` around each wait; `on_silence` runs once when one of them outlasts the timeout."""

    def __init__(self, timeout_seconds: float, on_silence: Callable[[], object]) -> None:
        self._timeout_seconds = timeout_seconds
        self._on_silence = on_silence
        self._since: float | None = None
        self._fired = False
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="silence-watch", daemon=True).start()

    @property
    def timeout_seconds(self) -> float:
        return self._timeout_seconds

    @property
    def fired(self) -> bool:
        """Whether a wait outlasted the timeout."""
        return self._fired

    def stop(self) -> None:
        """End the watching."""
        self._stopped.set()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._since = None

    def _watch(self) -> None:
        while not self._stopped.wait(self._timeout_seconds / _CHECKS_PER_TIMEOUT):
            since = self._since
            if since is not None and time.monotonic() - since > self._timeout_seconds:
                self._fired = True
                self._on_silence()
                return
