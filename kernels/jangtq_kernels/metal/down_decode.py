"""Kernel: down of single pairs of a row and an expert. Knows neither gate nor router."""

import mlx.core as mx

from jangtq_kernels.metal._common import CALL_ARRAYS, EXACT, SIMD_WIDTH, KernelFactory
from jangtq_kernels.metal._decoding import DECODING, DOT_PRODUCTS
from jangtq_kernels.metal.layout import MetalMatrix
from jangtq_kernels.metal.routing import Routing

SIMDGROUPS = 2
"""They share a block's 6 steps at MiniMax-M2.7's sizes; a row of 8 experts has 20 for each of 76 cores."""

# A step is four quads, one for each eight lanes, and four output features a lane. Which SIMD-group
# takes which step, and so the order of the sum, depends on the sizes alone.
SOURCE = """
  constexpr uint STEPS = (QUADS + 3) / 4;
  threadgroup float parts[SIMDGROUPS][32];
  const uint lane = thread_index_in_simdgroup;
  const uint group = simdgroup_index_in_threadgroup;
  const size_t pair = threadgroup_position_in_grid.y;
  const uint block = threadgroup_position_in_grid.z;
  const size_t panel = size_t(call_array(call, PAIR_EXPERTS)[pair]) * BLOCKS + block;
  const device float* row_of_pair[1] = {rotated + pair * (QUADS * 4 * (32 / BITS))};
  float values[8];
  load_levels<BITS>(levels, values);
  float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};

  for (uint step = group; step < STEPS; step += SIMDGROUPS) {
    const uint quad = step * 4 + lane / 8;
    if (quad < QUADS) {
      const device uint4* packed = (const device uint4*)codes + (panel * QUADS + quad) * 32 + lane % 8;
      const uint4 four[4] = {packed[0], packed[8], packed[16], packed[24]};
      add_products<BITS, 4, 1>(four, row_of_pair, quad * 4 * (32 / BITS), values, sums);
    }
  }
#pragma unroll
  for (uint f = 0; f < 4; ++f) {
    sums[f] += simd_shuffle_xor(sums[f], ushort(8));
    sums[f] += simd_shuffle_xor(sums[f], ushort(16));
    if (lane < 8) {
      parts[group][f * 8 + lane] = sums[f];
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const uint index = thread_index_in_threadgroup;
  const uint feature = block * 32 + index;
  if (index < 32 && feature < OUT) {
    float total = 0.0f;
    for (uint part = 0; part < SIMDGROUPS; ++part) {
      total += parts[part][index];
    }
    projected[pair * OUT + feature] = total * float(norms[panel * 32 + index]);
  }
"""


class DownDecode:
    """down(rotated row) for every pair, one by one."""

    def __init__(self, factory: KernelFactory) -> None:
        self._kernel = factory(
            "down_decode",
            ["rotated", "codes", "norms", "levels", "call"],
            ["projected"],
            SOURCE,
            CALL_ARRAYS + DECODING + DOT_PRODUCTS,
            compile_options=EXACT,
        )

    def __call__(self, rotated: mx.array, routing: Routing, *, down: MetalMatrix) -> mx.array:
        """rotated: float32 [pairs, stride]. Returns float32 [pairs, hidden]."""
        threads = SIMDGROUPS * SIMD_WIDTH
        (projected,) = self._kernel(
            inputs=[rotated, down.codes, down.norms, down.levels, routing.words],
            output_shapes=[(routing.pairs, down.out_features)],
            output_dtypes=[mx.float32],
            grid=(threads, routing.pairs, down.blocks),
            threadgroup=(threads, 1, 1),
            template=[
                *(("BITS", down.bits), ("QUADS", down.quads), ("OUT", down.out_features)),
                *(("BLOCKS", down.blocks), ("SIMDGROUPS", SIMDGROUPS)),
            ],
        )
        return projected
