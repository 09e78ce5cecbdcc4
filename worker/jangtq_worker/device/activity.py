"""Who asked lately, stream by stream, so that long calls let others by. Knows no transport."""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LATELY_NS: Final = 1_000_000_000
"""Coordinators that decode ask every few milliseconds: who was quiet for so long waits for nothing here."""
_NEVER: Final = -(1 << 62)


class StreamActivity:
    """One stream. Native code, too, writes when it asked for something short last, as time.monotonic_ns."""

    def __init__(self) -> None:
        self._asked_ns = ctypes.c_int64(_NEVER)
        self.address: int = ctypes.addressof(self._asked_ns)

    @property
    def asked_ns(self) -> int:
        return self._asked_ns.value

    def note(self) -> None:
        """It asks for something short now."""
        self._asked_ns.value = time.monotonic_ns()


class Activity:
    """The streams that are open. Thread-safe."""

    def __init__(self) -> None:
        self._askers: tuple[StreamActivity, ...] = ()
        self._change = threading.Lock()

    @contextmanager
    def joined_by(self, asker: StreamActivity) -> Iterator[None]:
        """It is one of them for as long as the block lasts."""
        with self._change:
            self._askers += (asker,)
        try:
            yield
        finally:
            with self._change:
                self._askers = tuple(other for other in self._askers if other is not asker)

    def is_kept_by_others(self, asker: StreamActivity | None) -> bool:
        """Whether any other than this one asked lately for something short."""
        since = time.monotonic_ns() - LATELY_NS
        return any(other is not asker and other.asked_ns >= since for other in self._askers)
