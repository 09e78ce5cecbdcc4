"""How many rows of a prompt fit in the time that a chunk may take, learned from earlier chunks. Pure."""

import statistics
from typing import Final

from jangtq_coordinator.metrics.running_high import RunningHigh

SMALLEST: Final = 8
"""The least rows of a chunk, even where they take longer than the limit."""
_PROOF: Final = 8
_GROWTH: Final = 2.0
_FREE_CONTEXT: Final = 1024
"""Added to the context when chunks are compared before the two parts of their cost are known."""
_AIM: Final = 0.8
_FIRST_MARGIN: Final = 1.3
_SPEED_WEIGHT: Final = 0.1
_WORST: Final = 3.0
"""A chunk that took more than this many times its expected time was disturbed; it counts as that much."""


class ChunkCost:
    """Seconds = rows x (one part + another x context), fitted to recent chunks by least squares.

    Errors are relative to the time. The fit has no fixed part: small chunks seem expensive, so that chunk
    sizes approach the right number from below.
    """

    _MEMORY: Final = 0.99

    def __init__(self) -> None:
        self._rr = self._rx = self._xx = self._rt = self._xt = 0.0

    def record(self, rows: int, context: float, *, seconds: float, least_seconds: float) -> None:
        """Add one chunk; a chunk that took less than `least_seconds` weighs less."""
        weight = 1 / max(seconds, least_seconds) ** 2
        x = rows * context
        self._rr = self._rr * self._MEMORY + weight * rows * rows
        self._rx = self._rx * self._MEMORY + weight * rows * x
        self._xx = self._xx * self._MEMORY + weight * x * x
        self._rt = self._rt * self._MEMORY + weight * rows * seconds
        self._xt = self._xt * self._MEMORY + weight * x * seconds

    def seconds_per_row(self, context: float) -> float:
        """Expected seconds a row, where the middle row sees `context` tokens; 0 before the first chunk."""
        if self._rr == 0:
            return 0.0
        determinant = self._rr * self._xx - self._rx**2
        if determinant <= 1e-6 * self._rr * self._xx:
            return self._rt / self._rr
        fixed = (self._rt * self._xx - self._xt * self._rx) / determinant
        slope = (self._xt * self._rr - self._rt * self._rx) / determinant
        if slope <= 0:
            return self._rt / self._rr
        return fixed + slope * context if fixed > 0 else self._xt / self._xx * context


class ChunkSize:
    """Bounds chunks to `limit_seconds` (0: unlimited) and to `most` rows.

    The aim is four fifths of the limit, since a decode pass follows, divided by the margin that one chunk in
    a hundred exceeds.
    """

    def __init__(self, *, limit_seconds: float, most: int) -> None:
        self.limit_seconds = limit_seconds
        self._most = most
        self._cost = ChunkCost()
        self._speed = 1.0
        """How recent chunks compare with their expected cost, as a factor."""
        self._margin = RunningHigh(_FIRST_MARGIN)
        self._tried = 0.0
        self._too_long: list[float] = []

    @property
    def out_of_reach(self) -> float | None:
        """The seconds of the smallest chunks, if the newest of them all took longer than the limit."""
        return statistics.median(self._too_long) if len(self._too_long) >= _PROOF else None

    def rows(self, context: int, *, others_wait: bool, spent_seconds: float = 0.0) -> int:
        """Rows of the next chunk, after `context` tokens; `spent_seconds` of its time are used up already.

        The limit protects sequences that decode. Without any, chunks are as large as allowed.
        """
        if not (self.limit_seconds and others_wait):
            return self._most
        trusted = _GROWTH * self._tried / (_FREE_CONTEXT + context)
        # The chunk's middle is not known yet; half of the largest chunk is an upper bound.
        per_row = self._seconds_per_row(context + min(trusted, self._most) / 2)
        wanted = (
            max(_AIM * self.limit_seconds - spent_seconds, 0) / self._margin.value / per_row if per_row else 0
        )
        return min(max(int(min(wanted, trusted)), SMALLEST), self._most)

    def record(self, rows: int, context: int, *, seconds: float) -> None:
        """Learn from a chunk that came after `context` tokens."""
        if not self.limit_seconds or seconds <= 0:
            return
        if seconds <= self.limit_seconds:
            self._too_long.clear()
        elif rows <= SMALLEST:
            self._too_long = [*self._too_long[1 - _PROOF :], seconds]
        middle = context + rows / 2
        expected = rows * self._seconds_per_row(middle)
        if expected:
            seconds = min(seconds, _WORST * expected)
            if 2 * expected * self._margin.value >= self.limit_seconds:
                self._margin.add(max(seconds / expected, 1.0))
                self._speed *= 1 + _SPEED_WEIGHT * (seconds / expected - 1)
        self._tried = max(self._tried, rows * (_FREE_CONTEXT + context))
        self._cost.record(rows, middle, seconds=seconds, least_seconds=self.limit_seconds / 4)

    def _seconds_per_row(self, context: float) -> float:
        return self._speed * self._cost.seconds_per_row(context)
