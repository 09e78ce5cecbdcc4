"""Recent calls of the open streams, so that long calls let other streams go first. Knows no transport."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LATELY_NS: Final = 1_000_000_000
"""Decoding coordinators call every few milliseconds: no call waits for a stream that is quiet this long."""
ALONE_NS: Final = 5_000_000
"""Coordinators that decode at the same time call more often than this."""
_NEVER: Final = -(1 << 62)


class StreamActivity:
    """One stream: the time.monotonic_ns of its last call, and of its last short call."""

    __slots__ = ("asked_ns", "asked_short_ns")

    def __init__(self) -> None:
        self.asked_ns = self.asked_short_ns = _NEVER

    def note(self, *, is_long: bool) -> None:
        """Record a call now."""
        self.asked_ns = time.monotonic_ns()
        if not is_long:
            self.asked_short_ns = self.asked_ns


class Activity:
    """The open streams. Thread-safe."""

    def __init__(self) -> None:
        self._streams: tuple[StreamActivity, ...] = ()
        self._change = threading.Lock()

    @contextmanager
    def stream(self) -> Iterator[StreamActivity]:
        """A stream that stays open while the block runs."""
        stream = StreamActivity()
        with self._change:
            self._streams += (stream,)
        try:
            yield stream
        finally:
            with self._change:
                self._streams = tuple(other for other in self._streams if other is not stream)

    def is_alone(self, stream: StreamActivity) -> bool:
        """Whether no other stream called for ALONE_NS: the thread that reads for all may answer this one."""
        since = time.monotonic_ns() - ALONE_NS
        return all(other is stream or other.asked_ns < since for other in self._streams)

    def is_kept_by_others(self, stream: StreamActivity | None) -> bool:
        """Whether another stream had a short call recently."""
        since = time.monotonic_ns() - LATELY_NS
        return any(other is not stream and other.asked_short_ns >= since for other in self._streams)
