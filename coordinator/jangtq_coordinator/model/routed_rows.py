"""What one layer sends to its experts, as one array that is read back at once. Knows no dispatcher.

A crossing from a GPU to the processor takes longer than the router's work: rows, ids and router weights cross
together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import ml_dtypes
import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_proto.wire.codec import Rows
from jangtq_proto.wire.row_type import RowType

MLX_DTYPE: Final = {
    RowType.FLOAT32: mx.float32,
    RowType.FLOAT16: mx.float16,
    RowType.BFLOAT16: mx.bfloat16,
}
_NUMPY_DTYPE: Final = {
    RowType.FLOAT32: np.dtype(np.float32),
    RowType.FLOAT16: np.dtype(np.float16),
    RowType.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
MOST_COMPILED_ROWS: Final = 16
"""Every number of rows is compiled by itself; decoding has few different ones, prefill many."""

Route = Callable[[mx.array, mx.array, mx.array], mx.array]


@dataclass(frozen=True)
class RoutedRows:
    """Rows [rows, hidden] in the wire's type, ids int32 and weights float32 [rows, experts a row]."""

    rows: Rows
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]


class Router:
    """Top experts of sigmoid(gate(x)) + correction bias, in float32, packed with the rows that they are for.

    compiles: whether MLX compiles the whole for few rows, which pays where each kernel is a launch.
    """

    def __init__(self, row_type: RowType, experts_per_token: int, *, compiles: bool | None = None) -> None:
        self._row_type = row_type
        self._experts_per_token = experts_per_token
        fused = mx.default_device().type == mx.gpu if compiles is None else compiles
        self._compiled: Route = mx.compile(self._route) if fused else self._route

    def route(self, x: mx.array, gate: mx.array, bias: mx.array) -> RoutedRows:
        """x: [rows, hidden]; gate: float32 [experts, hidden]; bias: float32 [experts]. Evaluates and reads."""
        count, hidden = x.shape
        packed = (self._compiled if count <= MOST_COMPILED_ROWS else self._route)(x, gate, bias)
        mx.eval(packed)
        kind = _NUMPY_DTYPE[self._row_type]
        # A view: the array lives as long as it does.
        raw: NDArray[np.uint8] = np.array(packed, copy=False)
        rows_end = count * hidden * kind.itemsize
        ids_end = rows_end + count * self._experts_per_token * 4
        shape = count, self._experts_per_token
        return RoutedRows(
            raw[:rows_end].view(kind).reshape(count, hidden),
            raw[rows_end:ids_end].view(np.int32).reshape(shape),
            raw[ids_end:].view(np.float32).reshape(shape),
        )

    def _route(self, x: mx.array, gate: mx.array, bias: mx.array) -> mx.array:
        scores = mx.sigmoid(x.astype(mx.float32) @ gate.T)
        k = self._experts_per_token
        picked = mx.argpartition(-(scores + bias), kth=k - 1, axis=-1)[..., :k]
        weights = mx.take_along_axis(scores, picked, axis=-1)
        weights = weights / (mx.sum(weights, axis=-1, keepdims=True) + 1e-20)
        parts = x.astype(MLX_DTYPE[self._row_type]), picked.astype(mx.int32), weights
        return mx.concatenate([part.reshape(-1).view(mx.uint8) for part in parts])
