"""Splits the picked experts of a layer among their holders. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_EXPERT = -1


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


def split_rows(
    expert_ids: NDArray[np.int32], router_weights: NDArray[np.float32], owner: NDArray[np.int32]
) -> tuple[HolderRows, ...]:
    """One HolderRows for each holder of a picked expert, in holder order.

    expert_ids and router_weights: [rows, slots]; owner: [experts], the holder of each expert.
    """
    owners = owner[expert_ids]
    return tuple(
        _rows_of(int(holder), owners, expert_ids, router_weights) for holder in np.unique(owners).tolist()
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
