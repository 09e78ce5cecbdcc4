"""Kernel: each row's weighted answers, rounded to the row's grid and added. Knows no codes."""

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.grid import ANSWER_BITS
from jangtq_kernels.metal._common import CALL_ARRAYS, EXACT, SIMD_WIDTH, KernelFactory, ceil_div
from jangtq_kernels.metal.routing import Routing

COMBINE_THREADS = 256

# As grid.py defines it. What does not fit is cut off, for the conversion's sake, and so is NaN: the
# magnitudes tell. A SIMD-group's 32 features share one magnitude.
SOURCE = """
  constexpr float MOST = float(1 << ANSWER_BITS);
  const uint feature = thread_position_in_grid.x;
  const uint row = thread_position_in_grid.y;
  const device int* row_starts = call_array(call, ROW_STARTS);
  const device int* slot_pairs = call_array(call, SLOT_PAIRS);
  const device float* slot_weights = (const device float*)call_array(call, SLOT_WEIGHTS);
  const float scale = ((const device float*)call_array(call, SCALES))[row];
  int total = 0;
  uint largest = 0;
  if (feature < OUT) {
    for (int slot = row_starts[row]; slot < row_starts[row + 1]; ++slot) {
      const float answer = slot_weights[slot] * projected[size_t(slot_pairs[slot]) * OUT + feature];
      largest = max(largest, as_type<uint>(answer) & 0x7fffffffu);
      const float steps = answer * scale;
      const float above = steps > -MOST ? steps : -MOST;
      total += int(rint(above < MOST ? above : MOST));
    }
    answers[size_t(row) * OUT + feature] = total;
  }
  largest = simd_max(largest);
  if (thread_index_in_simdgroup == 0) {
    const size_t rows = threads_per_grid.y;
    answers[rows * OUT + row * ((OUT + 31) / 32) + feature / 32] = int(largest);
  }
"""


class Combine:
    """Sum over a row's slots of router weight * projected pair, in units of the row's grid."""

    def __init__(self, factory: KernelFactory) -> None:
        self._kernel = factory(
            "combine_pairs", ["projected", "call"], ["answers"], SOURCE, CALL_ARRAYS, compile_options=EXACT
        )

    def __call__(self, projected: mx.array, routing: Routing) -> mx.array:
        """projected: float32 [pairs, hidden]. Returns int32 [n]: sums, then magnitudes.

        Sums are [rows, hidden]. Magnitudes are [rows, parts], as of grid.magnitudes_of, each of a part of the
        row's features.
        """
        features = projected.shape[1]
        groups = ceil_div(features, SIMD_WIDTH)
        (answers,) = self._kernel(
            inputs=[projected, routing.words],
            output_shapes=[(routing.rows * (features + groups),)],
            output_dtypes=[mx.int32],
            grid=(groups * SIMD_WIDTH, routing.rows, 1),
            threadgroup=(COMBINE_THREADS, 1, 1),
            template=[("OUT", features), ("ANSWER_BITS", ANSWER_BITS)],
        )
        return answers


def read_answers(
    answers: mx.array, *, rows: int, features: int
) -> tuple[NDArray[np.int32], NDArray[np.uint32]]:
    """The sums [rows, hidden] and the largest magnitude of each row, once they are computed."""
    flat: NDArray[np.int32] = np.array(answers)
    sums, magnitudes = flat[: rows * features], flat[rows * features :]
    largest: NDArray[np.uint32] = magnitudes.view(np.uint32).reshape(rows, -1).max(axis=1)
    return sums.reshape(rows, features), largest
