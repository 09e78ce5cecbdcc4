"""The measured speed of each member, for its deadlines and its share of the work."""

from typing import Final

from jangtq_coordinator.metrics.running_high import RunningHigh

_FLOOR_SECONDS: Final = 0.25
_MULTIPLE: Final = 8.0
_SPEED_WEIGHT: Final = 0.05


class WorkerSpeed:
    """One member's waits by call size, in classes that double, and its computing time a unit of work."""

    def __init__(self, ceiling_seconds: float) -> None:
        self._ceiling = ceiling_seconds
        self._marks: dict[int, RunningHigh] = {}
        self.seconds_per_cost: float | None = None

    def record(self, rows: int, *, waited_seconds: float, compute_seconds: float, cost: float) -> None:
        """Add the times of one call; `cost` is that of `router.work`."""
        size = rows.bit_length()
        mark = self._marks.get(size)
        if mark is None:
            self._marks[size] = RunningHigh(waited_seconds)
        else:
            mark.add(waited_seconds)
        speed = compute_seconds / max(cost, 1.0)
        known = self.seconds_per_cost
        self.seconds_per_cost = speed if known is None else known + _SPEED_WEIGHT * (speed - known)

    def deadline_seconds(self, rows: int) -> float:
        """How long to wait for a call: a multiple of the high mark, scaled if this size is new."""
        if not self._marks:
            return self._ceiling
        size = rows.bit_length()
        nearest = min(tuple(self._marks), key=lambda seen: abs(seen - size))
        expected = self._marks[nearest].value * 2.0 ** max(0, size - nearest)
        return min(max(_FLOOR_SECONDS, _MULTIPLE * expected), self._ceiling)
