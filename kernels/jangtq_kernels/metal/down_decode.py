"""Kernel: down of single rows, weighted by the router and summed over a row's experts. Knows no gate."""

import mlx.core as mx

from jangtq_kernels.metal._common import SIMD_WIDTH, KernelFactory
from jangtq_kernels.metal._decoding import DECODING, DOT_PRODUCTS
from jangtq_kernels.metal.layout import MetalMatrix
from jangtq_kernels.metal.routing import Routing

SIMDGROUPS = 16
"""A block's work is 8 experts of 6 steps at MiniMax-M2.7's sizes, which 16 divide evenly."""

# A step is four quads, one for each eight lanes, and four output features a lane. The SIMD-groups
# share the steps of all the row's experts; which one takes which depends on the row alone.
SOURCE = """
  constexpr uint STEPS = (QUADS + 3) / 4;
  threadgroup float parts[SIMDGROUPS][32];
  const uint lane = thread_index_in_simdgroup;
  const uint group = simdgroup_index_in_threadgroup;
  const uint row = threadgroup_position_in_grid.y;
  const uint block = threadgroup_position_in_grid.z;
  const uint first_slot = row_starts[row];
  const uint steps = (row_starts[row + 1] - first_slot) * STEPS;
  float values[8];
  load_levels<BITS>(levels, values);
  float totals[4] = {0.0f, 0.0f, 0.0f, 0.0f};

  for (uint step = group; step < steps; step += SIMDGROUPS) {
    const uint slot = first_slot + step / STEPS;
    const uint quad = step % STEPS * 4 + lane / 8;
    if (quad < QUADS) {
      const size_t pair = slot_pairs[slot];
      const size_t panel = size_t(pair_experts[pair]) * BLOCKS + block;
      const device uint4* packed = (const device uint4*)codes + (panel * QUADS + quad) * 32 + lane % 8;
      const uint4 four[4] = {packed[0], packed[8], packed[16], packed[24]};
      float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      const device float* row_of_pair[1] = {rotated + pair * (QUADS * 4 * (32 / BITS))};
      add_products<BITS, 4, 1>(four, row_of_pair, quad * 4 * (32 / BITS), values, sums);
#pragma unroll
      for (uint f = 0; f < 4; ++f) {
        const float scale = slot_weights[slot] * float(norms[panel * 32 + f * 8 + lane % 8]);
        totals[f] = fma(scale, sums[f], totals[f]);
      }
    }
  }
#pragma unroll
  for (uint f = 0; f < 4; ++f) {
    totals[f] += simd_shuffle_xor(totals[f], ushort(8));
    totals[f] += simd_shuffle_xor(totals[f], ushort(16));
    if (lane < 8) {
      parts[group][f * 8 + lane] = totals[f];
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
    summed[size_t(row) * OUT + feature] = total;
  }
"""


class DownDecode:
    """Sum over a row's experts of router weight * down(rotated row of the pair)."""

    def __init__(self, factory: KernelFactory) -> None:
        self._kernel = factory(
            "down_decode",
            [
                *("rotated", "codes", "norms", "levels", "pair_experts"),
                *("slot_pairs", "slot_weights", "row_starts"),
            ],
            ["summed"],
            SOURCE,
            DECODING + DOT_PRODUCTS,
        )

    def __call__(self, rotated: mx.array, routing: Routing, *, down: MetalMatrix) -> mx.array:
        """rotated: float32 [pairs, stride]. Returns float32 [rows, hidden]."""
        threads = SIMDGROUPS * SIMD_WIDTH
        (summed,) = self._kernel(
            inputs=[
                *(rotated, down.codes, down.norms, down.levels, routing.pair_experts),
                *(routing.slot_pairs, routing.slot_weights, routing.row_starts),
            ],
            output_shapes=[(routing.rows, down.out_features)],
            output_dtypes=[mx.float32],
            grid=(threads, routing.rows, down.blocks),
            threadgroup=(threads, 1, 1),
            template=[
                *(("BITS", down.bits), ("QUADS", down.quads), ("OUT", down.out_features)),
                *(("BLOCKS", down.blocks), ("SIMDGROUPS", SIMDGROUPS)),
            ],
        )
        return summed
