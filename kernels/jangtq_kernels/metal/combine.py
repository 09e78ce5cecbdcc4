"""Kernel: the weighted sum of each row's experts after prefill. Knows no codes."""

import mlx.core as mx

from jangtq_kernels.metal._common import KernelFactory
from jangtq_kernels.metal.routing import Routing

COMBINE_THREADS = 256

# Slots are added in the row's own order, so the sum does not depend on the other rows.
SOURCE = """
  const uint feature = thread_position_in_grid.x;
  const uint row = thread_position_in_grid.y;
  float total = 0.0f;
  for (int slot = row_starts[row]; slot < row_starts[row + 1]; ++slot) {
    total = fma(slot_weights[slot], projected[size_t(slot_pairs[slot]) * OUT + feature], total);
  }
  summed[size_t(row) * OUT + feature] = total;
"""


class Combine:
    """Sum over a row's slots of router weight * projected pair."""

    def __init__(self, factory: KernelFactory) -> None:
        self._kernel = factory(
            "combine_pairs", ["projected", "slot_pairs", "slot_weights", "row_starts"], ["summed"], SOURCE
        )

    def __call__(self, projected: mx.array, routing: Routing) -> mx.array:
        """projected: float32 [pairs, hidden]. Returns float32 [rows, hidden]."""
        features = projected.shape[1]
        (summed,) = self._kernel(
            inputs=[projected, routing.slot_pairs, routing.slot_weights, routing.row_starts],
            output_shapes=[(routing.rows, features)],
            output_dtypes=[mx.float32],
            grid=(features, routing.rows, 1),
            threadgroup=(COMBINE_THREADS, 1, 1),
            template=[("OUT", features)],
        )
        return summed
