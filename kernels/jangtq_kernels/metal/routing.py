"""Which rows meet which experts, as the kernels read it. Knows no weights."""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT
from jangtq_kernels.grid import grid_scales
from jangtq_kernels.metal._common import MIN_DEVICE_ELEMENTS

TILE_FIELDS = 3


@dataclass(frozen=True)
class Plan:
    """The pairs of a row and an expert, sorted by expert; unused slots are not in it.

    pair_experts, pair_rows: int32 [pairs]. slot_pairs: int32 [pairs], position of each used slot's pair,
    slots row by row; slot_weights: float32 [pairs]; row_starts: int32 [rows + 1] into the slots.
    """

    pair_experts: NDArray[np.int32]
    pair_rows: NDArray[np.int32]
    slot_pairs: NDArray[np.int32]
    slot_weights: NDArray[np.float32]
    row_starts: NDArray[np.int32]

    @property
    def pairs(self) -> int:
        return len(self.pair_experts)

    @property
    def rows(self) -> int:
        return len(self.row_starts) - 1

    @property
    def rows_of_experts(self) -> NDArray[np.intp]:
        """How many rows each expert has that has any."""
        return np.unique(self.pair_experts, return_counts=True)[1]


@dataclass(frozen=True)
class Routing:
    """A plan on the device; the arrays are padded, so that MLX gives every kernel one signature.

    scales: float32 [rows], of the rows' grids.
    """

    pair_experts: mx.array
    pair_rows: mx.array
    slot_pairs: mx.array
    slot_weights: mx.array
    row_starts: mx.array
    scales: mx.array
    pairs: int
    rows: int


@dataclass(frozen=True)
class Tiles:
    """Pairs of one expert computed together, on the device: int32, expert, first pair and pairs of each tile.

    rows: the most pairs that a tile holds.
    """

    table: mx.array
    count: int
    rows: int


def plan_pairs(positions: NDArray[np.int32], router_weights: NDArray[np.float32]) -> Plan:
    """positions: int32 [rows, slots], the expert's place in the shard's arrays or NO_EXPERT."""
    rows, slots = np.nonzero(positions != NO_EXPERT)
    experts = positions[rows, slots]
    order = np.argsort(experts, kind="stable")
    slot_pairs = np.empty(len(order), dtype=np.int32)
    slot_pairs[order] = np.arange(len(order), dtype=np.int32)
    used = np.bincount(rows, minlength=positions.shape[0])
    return Plan(
        pair_experts=experts[order].astype(np.int32),
        pair_rows=rows[order].astype(np.int32),
        slot_pairs=slot_pairs,
        slot_weights=router_weights[rows, slots].astype(np.float32),
        row_starts=np.concatenate([[0], np.cumsum(used)], dtype=np.int32),
    )


def move_to_device(plan: Plan, exponents: NDArray[np.int8]) -> Routing:
    return Routing(
        pair_experts=_padded(plan.pair_experts),
        pair_rows=_padded(plan.pair_rows),
        slot_pairs=_padded(plan.slot_pairs),
        slot_weights=_padded(plan.slot_weights),
        row_starts=_padded(plan.row_starts),
        scales=_padded(grid_scales(exponents)),
        pairs=plan.pairs,
        rows=plan.rows,
    )


def move_tiles_to_device(plan: Plan, rows: int) -> Tiles:
    tiles = cut_tiles(plan, rows)
    return Tiles(table=_padded(tiles.reshape(-1)), count=len(tiles), rows=rows)


def cut_tiles(plan: Plan, rows: int) -> NDArray[np.int32]:
    """int32 [tiles, 3]: expert, first pair, pairs; a tile has one expert and at most `rows` pairs."""
    experts, counts = np.unique(plan.pair_experts, return_counts=True)
    tiles = [
        (expert, first + offset, min(rows, count - offset))
        for expert, first, count in zip(experts, np.cumsum(counts) - counts, counts, strict=True)
        for offset in range(0, count, rows)
    ]
    return np.array(tiles, dtype=np.int32).reshape(-1, TILE_FIELDS)


def _padded(array: NDArray[np.generic]) -> mx.array:
    if len(array) >= MIN_DEVICE_ELEMENTS:
        return mx.array(array)
    padded = np.zeros(MIN_DEVICE_ELEMENTS, dtype=array.dtype)
    padded[: len(array)] = array
    return mx.array(padded)
