"""What a decode pass costs by its number of rows, learned from the passes there were. Pure."""

from typing import Final

_MEMORY: Final = 0.95
"""What a measurement still weighs after the next one."""


class PassCost:
    """A straight line through recent passes: a fixed part, chiefly the exchanges, and one a row."""

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def record(self, rows: int, seconds: float) -> None:
        """One pass of so many rows took so long."""
        self._weight = self._weight * _MEMORY + 1
        self._x = self._x * _MEMORY + rows
        self._y = self._y * _MEMORY + seconds
        self._xx = self._xx * _MEMORY + rows * rows
        self._xy = self._xy * _MEMORY + rows * seconds

    def seconds(self, rows: int) -> float:
        """The expected time of a pass; until rows have varied, the mean of all. 0 before the first."""
        if self._weight == 0:
            return 0.0
        mean_x, mean_y = self._x / self._weight, self._y / self._weight
        variance = self._xx / self._weight - mean_x * mean_x
        covariance = self._xy / self._weight - mean_x * mean_y
        slope = max(covariance / variance, 0.0) if variance > 1e-9 else 0.0
        return max(mean_y + slope * (rows - mean_x), 0.0)
