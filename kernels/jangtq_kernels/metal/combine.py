"""Kernel: each row's weighted answers, rounded to the row's grid and added. Knows no codes."""

import mlx.core as mx

from jangtq_kernels.grid import ANSWER_BITS
from jangtq_kernels.metal._common import SIMD_WIDTH, KernelFactory, ceil_div
from jangtq_kernels.metal.routing import Routing

COMBINE_THREADS = 256

# As grid.py defines it. What does not fit is cut off, for the conversion's sake, and so is NaN: the
# magnitudes tell. A SIMD-group's 32 features share one magnitude.
SOURCE = """
  constexpr float MOST = float(1 << ANSWER_BITS);
  const uint feature = thread_position_in_grid.x;
  const uint row = thread_position_in_grid.y;
  int total = 0;
  uint largest = 0;
  if (feature < OUT) {
    for (int slot = row_starts[row]; slot < row_starts[row + 1]; ++slot) {
      const float answer = slot_weights[slot] * projected[size_t(slot_pairs[slot]) * OUT + feature];
      largest = max(largest, as_type<uint>(answer) & 0x7fffffffu);
      const float steps = answer * scales[row];
      const float above = steps > -MOST ? steps : -MOST;
      total += int(rint(above < MOST ? above : MOST));
    }
    summed[size_t(row) * OUT + feature] = total;
  }
  largest = simd_max(largest);
  if (thread_index_in_simdgroup == 0) {
    magnitudes[row * ((OUT + 31) / 32) + feature / 32] = largest;
  }
"""


class Combine:
    """Sum over a row's slots of router weight * projected pair, in units of the row's grid."""

    def __init__(self, factory: KernelFactory) -> None:
        self._kernel = factory(
            "combine_pairs",
            ["projected", "slot_pairs", "slot_weights", "row_starts", "scales"],
            ["summed", "magnitudes"],
            SOURCE,
        )

    def __call__(self, projected: mx.array, routing: Routing) -> tuple[mx.array, mx.array]:
        """projected: float32 [pairs, hidden]. Returns int32 [rows, hidden] and uint32 [rows, parts].

        The latter are magnitudes as of grid.magnitudes_of, each of a part of the row's features.
        """
        features = projected.shape[1]
        groups = ceil_div(features, SIMD_WIDTH)
        summed, magnitudes = self._kernel(
            inputs=[
                *(projected, routing.slot_pairs, routing.slot_weights),
                *(routing.row_starts, routing.scales),
            ],
            output_shapes=[(routing.rows, features), (routing.rows, groups)],
            output_dtypes=[mx.int32, mx.uint32],
            grid=(groups * SIMD_WIDTH, routing.rows, 1),
            threadgroup=(COMBINE_THREADS, 1, 1),
            template=[("OUT", features), ("ANSWER_BITS", ANSWER_BITS)],
        )
        return summed, magnitudes
