"""Which rows meet which experts, and all of a call in one array, as the kernels read it. Knows no weights."""

from dataclasses import dataclass
from typing import Final

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT, ExpertRows
from jangtq_kernels.grid import grid_scales
from jangtq_kernels.metal._common import MAX_DECODE_ROWS
from jangtq_kernels.metal._tile import TILE_ROWS

TILE_FIELDS: Final = 3

HEADER_WORDS: Final = 16
"""Where the rows begin in a call's words; above MIN_DEVICE_ELEMENTS, so that calls are in device memory."""

# Words of a call's header, each the place where an array of a Plan begins.
PAIR_EXPERTS, PAIR_ROWS, SLOT_PAIRS, SLOT_WEIGHTS, ROW_STARTS, SCALES, TILE_TABLE = range(7)

_UNUSED: Final = (0,) * (HEADER_WORDS - TILE_TABLE - 1)
_MANTISSA_BITS, _BIAS = 23, 127


@dataclass(frozen=True)
class Plan:
    """The pairs of a row and an expert, sorted by expert; unused slots are not in it.

    pair_experts, pair_rows: int32 [pairs]. slot_pairs: int32 [pairs], position of each used slot's pair,
    slots row by row; slot_weights: float32 [pairs]; row_starts: int32 [rows + 1] into the slots.
    expert_starts: [experts + 1], where the pairs of each expert that has any begin, and where all end.
    """

    pair_experts: NDArray[np.int32]
    pair_rows: NDArray[np.int32]
    slot_pairs: NDArray[np.int32]
    slot_weights: NDArray[np.float32]
    row_starts: NDArray[np.int32]
    expert_starts: NDArray[np.intp]

    @property
    def pairs(self) -> int:
        return len(self.pair_experts)

    @property
    def rows(self) -> int:
        return len(self.row_starts) - 1

    @property
    def rows_of_experts(self) -> NDArray[np.intp]:
        """How many rows each expert has that has any."""
        return self.expert_starts[1:] - self.expert_starts[:-1]


@dataclass(frozen=True)
class Routing:
    """One call on the device.

    words: float32 [n]: the header, float32 rows [rows, hidden], and the arrays of the plan, integers as bits.
    A tile is pairs of one expert computed together, `tile_rows` at most: expert, first pair and pairs.
    """

    words: mx.array
    rows: int
    pairs: int
    tiles: int
    tile_rows: int


def move_to_device(asked: ExpertRows, positions: NDArray[np.int32]) -> Routing | None:
    """A call in one piece; None where no slot has an expert. positions: int32 [rows, slots]."""
    if len(positions) == 1 and (row := _pack_row(asked, positions[0].tolist())) is not None:
        return row
    plan = plan_pairs(positions, asked.router_weights)
    if plan.pairs == 0:
        return None
    tile_rows = choose_tile_rows(plan.rows_of_experts, prefill=asked.prefill)
    tiles = cut_tiles(plan, tile_rows)
    return Routing(mx.array(pack(asked, plan, tiles)), plan.rows, plan.pairs, len(tiles), tile_rows)


def _pack_row(asked: ExpertRows, positions: list[int]) -> Routing | None:
    """What `move_to_device` makes of one row in decode with different experts, several times as fast."""
    pairs = sorted((position, slot) for slot, position in enumerate(positions) if position != NO_EXPERT)
    experts, slots = [position for position, _ in pairs], [slot for _, slot in pairs]
    count = len(pairs)
    if asked.prefill or not count or len(set(experts)) != count:
        return None
    weights = asked.router_weights[0].view(np.int32).tolist()
    begin = HEADER_WORDS + asked.rows.shape[1]
    scales = begin + 4 * count + 2
    # Its pairs are their own tiles, and its slots stand in their order.
    fields = [*experts, *[0] * count, *range(count), *[weights[slot] for slot in slots], 0, count]
    fields.append((_BIAS - int(asked.exponents[0])) << _MANTISSA_BITS)
    for index, expert in enumerate(experts):
        fields += (expert, index, 1)
    words = np.empty(begin + len(fields), dtype=np.float32)
    raw = words.view(np.int32)
    raw[:HEADER_WORDS] = (
        *(begin, begin + count, begin + 2 * count, begin + 3 * count, begin + 4 * count, scales, scales + 1),
        *_UNUSED,
    )
    words[HEADER_WORDS:begin] = asked.rows[0]
    raw[begin:] = fields
    return Routing(mx.array(words), 1, count, count, 1)


def plan_pairs(positions: NDArray[np.int32], router_weights: NDArray[np.float32]) -> Plan:
    """positions: int32 [rows, slots], the expert's place in the shard's arrays or NO_EXPERT."""
    row_count, slot_count = positions.shape
    flat = positions.reshape(-1)
    used = (flat != NO_EXPERT).nonzero()[0]
    experts = flat[used]
    order = experts.argsort(kind="stable")
    slot_pairs = np.empty(len(order), dtype=np.int32)
    slot_pairs[order] = np.arange(len(order), dtype=np.int32)
    rows = used // slot_count if slot_count else used
    row_starts = np.zeros(row_count + 1, dtype=np.int32)
    np.bincount(rows, minlength=row_count).cumsum(out=row_starts[1:], dtype=np.int32)
    pair_experts = experts[order]
    changes = (pair_experts[1:] != pair_experts[:-1]).nonzero()[0] + 1
    return Plan(
        pair_experts=pair_experts,
        pair_rows=rows[order].astype(np.int32),
        slot_pairs=slot_pairs,
        slot_weights=router_weights.reshape(-1)[used],
        row_starts=row_starts,
        expert_starts=np.concatenate([[0], changes, [len(order)]]),
    )


def choose_tile_rows(rows_of_experts: NDArray[np.intp], *, prefill: bool) -> int:
    """Rows that share one decoding of an expert's codes: 1, 2 or 4 in decode, 32 in prefill."""
    if prefill:
        return TILE_ROWS
    return min(1 << (int(rows_of_experts.max()) - 1).bit_length(), MAX_DECODE_ROWS)


def cut_tiles(plan: Plan, rows: int) -> NDArray[np.int32]:
    """int32 [tiles, 3]: expert, first pair, pairs; a tile has one expert and at most `rows` pairs."""
    starts, counts = plan.expert_starts[:-1], plan.rows_of_experts
    pieces = -(-counts // rows)
    owner = np.arange(len(starts)).repeat(pieces)
    offsets = (np.arange(len(owner)) - (pieces.cumsum() - pieces)[owner]) * rows
    first = starts[owner] + offsets
    tiles = np.empty((len(owner), TILE_FIELDS), dtype=np.int32)
    tiles[:, 0] = plan.pair_experts[first]
    tiles[:, 1] = first
    tiles[:, 2] = np.minimum(counts[owner] - offsets, rows)
    return tiles


def pack(asked: ExpertRows, plan: Plan, tiles: NDArray[np.int32]) -> NDArray[np.float32]:
    """The words of a call, as Routing has them."""
    rows, fields = asked.rows, tiles.reshape(-1)
    after_rows = HEADER_WORDS + rows.size
    integers = np.concatenate(
        [
            plan.pair_experts,
            plan.pair_rows,
            plan.slot_pairs,
            plan.slot_weights.view(np.int32),
            plan.row_starts,
        ]
    )
    words = np.empty(after_rows + len(integers) + plan.rows + len(fields), dtype=np.float32)
    pairs = plan.pairs
    scales = after_rows + len(integers)
    raw = words.view(np.int32)
    raw[:HEADER_WORDS] = (
        *(after_rows, after_rows + pairs, after_rows + 2 * pairs, after_rows + 3 * pairs),
        *(after_rows + 4 * pairs, scales, scales + plan.rows, *_UNUSED),
    )
    words[HEADER_WORDS:after_rows] = rows.reshape(-1)
    raw[after_rows:scales] = integers
    words[scales : scales + plan.rows] = grid_scales(asked.exponents)
    raw[scales + plan.rows :] = fields
    return words
