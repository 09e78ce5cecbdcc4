"""Splits the picked experts of a layer among their holders. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT


@dataclass(frozen=True)
class HolderRows:
    """What one holder is asked for: some rows, and of each row the experts that are its own.

    row_index: int64 [rows], positions in the layer's rows; None stands for all of them.
    expert_ids: int32 [rows, slots], NO_EXPERT where the expert is somebody else's.
    router_weights: float32 [rows, slots].
    """

    holder: int
    row_index: NDArray[np.int64] | None
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]


class Router:
    """Knows the holder of each expert, `owner` int32 [experts], and splits layers accordingly."""

    def __init__(self, owner: NDArray[np.int32]) -> None:
        self._owner = owner
        self._owner_list: list[int] = owner.tolist()

    def split(
        self, expert_ids: NDArray[np.int32], router_weights: NDArray[np.float32]
    ) -> tuple[HolderRows, ...]:
        """One HolderRows for each holder of a picked expert, in holder order; inputs [rows, slots]."""
        if expert_ids.shape[0] == 1:
            return self._split_one(expert_ids, router_weights)
        owners = self._owner[expert_ids]
        return tuple(
            _rows_of(int(holder), owners, expert_ids, router_weights) for holder in np.unique(owners).tolist()
        )

    def _split_one(
        self, expert_ids: NDArray[np.int32], router_weights: NDArray[np.float32]
    ) -> tuple[HolderRows, ...]:
        """A single row, the common case of decoding: plain lists beat NumPy by far."""
        slots: dict[int, list[int]] = {}
        for slot, expert in enumerate(expert_ids[0].tolist()):
            slots.setdefault(self._owner_list[expert], []).append(slot)
        return tuple(
            HolderRows(holder, None, expert_ids[:, slots[holder]], router_weights[:, slots[holder]])
            for holder in sorted(slots)
        )


def _rows_of(
    holder: int,
    owners: NDArray[np.int32],
    expert_ids: NDArray[np.int32],
    router_weights: NDArray[np.float32],
) -> HolderRows:
    mine = owners == holder
    has_mine = mine.any(axis=1)
    own_ids = np.where(mine, expert_ids, np.int32(NO_EXPERT))
    if has_mine.all():
        return HolderRows(holder, None, own_ids, router_weights)
    index = np.flatnonzero(has_mine)
    return HolderRows(holder, index, own_ids[index], router_weights[index])
