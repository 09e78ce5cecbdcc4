"""The cost of a decode pass by its number of rows, learned from earlier passes. Pure."""

from typing import Final

_LEAST_VARIANCE: Final = 1e-6
_MEMORY: Final = 0.95
"""The weight of a measurement after the next one."""


class PassCost:
    """A straight line through recent passes: a fixed part, mostly the exchanges, and a part for each row."""

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def record(self, rows: int, seconds: float) -> None:
        """Add one pass."""
        self._weight = self._weight * _MEMORY + 1
        self._x = self._x * _MEMORY + rows
        self._y = self._y * _MEMORY + seconds
        self._xx = self._xx * _MEMORY + rows * rows
        self._xy = self._xy * _MEMORY + rows * seconds

    @property
    def has_varied(self) -> bool:
        """Whether recent passes had different numbers of rows, which the fit needs."""
        return self._weight > 0 and self._variance > _LEAST_VARIANCE

    def seconds(self, rows: int) -> float:
        """The expected time of a pass; the mean of all until rows have varied; 0 before the first."""
        if self._weight == 0:
            return 0.0
        mean_x, mean_y = self._x / self._weight, self._y / self._weight
        covariance = self._xy / self._weight - mean_x * mean_y
        slope = max(covariance / self._variance, 0.0) if self.has_varied else 0.0
        return max(mean_y + slope * (rows - mean_x), 0.0)

    @property
    def _variance(self) -> float:
        return self._xx / self._weight - (self._x / self._weight) ** 2
