"""Rows, expert ids and router weights as one array of bytes: on a GPU every further read is a wait."""

from typing import NamedTuple

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_proto.wire.codec import Rows, row_dtype
from jangtq_proto.wire.row_type import RowType


class SentRows(NamedTuple):
    """rows: [rows, hidden]; expert_ids: int32 and router_weights: float32 [rows, slots]."""

    rows: Rows
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]


def pack(rows: mx.array, ids: mx.array, weights: mx.array) -> mx.array:
    """The bytes of all three, one after the other."""
    return mx.concatenate([array.reshape(-1).view(mx.uint8) for array in (rows, ids, weights)])


def unpack(packed: mx.array, row_count: int, hidden: int, slots: int, *, row_type: RowType) -> SentRows:
    """Views of what `pack` made of arrays of these shapes, once it is evaluated."""
    raw: NDArray[np.uint8] = np.array(packed, copy=False)
    dtype = row_dtype(row_type)
    ids_at = row_count * hidden * dtype.itemsize
    weights_at = ids_at + row_count * slots * 4
    return SentRows(
        raw[:ids_at].view(dtype).reshape(row_count, hidden),
        raw[ids_at:weights_at].view(np.int32).reshape(row_count, slots),
        raw[weights_at:].view(np.float32).reshape(row_count, slots),
    )
