"""How often each expert of each layer was picked, recently and since the start. Knows no worker."""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

WINDOW_SECONDS: Final = 300
_SLICES: Final = 30
_SLICE_SECONDS: Final = WINDOW_SECONDS // _SLICES


class ExpertLoad:
    """Counts picks, one for each row and slot; recorded by the engine's thread, read by any.

    The last minutes are kept as a ring of slices, so that recording costs one count and no search. A reader
    may see a part of a layer of the current pass.
    """

    def __init__(
        self, layer_count: int, expert_count: int, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._ring = np.zeros((_SLICES, layer_count, expert_count), dtype=np.uint32)
        self._numbers = np.full(_SLICES, -_SLICES, dtype=np.int64)
        self._totals = np.zeros(expert_count, dtype=np.int64)

    def record(self, layer: int, expert_ids: NDArray[np.int32]) -> None:
        """The experts picked for a layer's rows, int32 [rows, slots], all of them experts of the model."""
        counts = np.bincount(expert_ids.ravel(), minlength=len(self._totals))
        self._slice()[layer] += counts.astype(np.uint32)
        self._totals += counts

    def totals(self) -> NDArray[np.int64]:
        """Picks of each expert since the start over all layers, int64 [experts]."""
        return self._totals.copy()

    def recent(self) -> NDArray[np.int64]:
        """Picks of the last WINDOW_SECONDS, int64 [layers, experts]."""
        fresh = self._numbers > self._number() - _SLICES
        picks: NDArray[np.int64] = self._ring[fresh].sum(axis=0, dtype=np.int64)
        return picks

    def _slice(self) -> NDArray[np.uint32]:
        """The counts of now, emptied where they are of an earlier round."""
        number = self._number()
        index = number % _SLICES
        counts: NDArray[np.uint32] = self._ring[index]
        if self._numbers[index] != number:
            counts[:] = 0
            self._numbers[index] = number
        return counts

    def _number(self) -> int:
        return int(self._now() // _SLICE_SECONDS)
