"""Kernel: down of up to 32 pairs of one expert, codes decoded once. Knows neither gate nor router."""

import mlx.core as mx

from jangtq_kernels.metal._common import CALL_ARRAYS, EXACT, KernelFactory, ceil_div
from jangtq_kernels.metal._decoding import DECODING
from jangtq_kernels.metal._tile import TILE_PRODUCTS, TILE_THREADS
from jangtq_kernels.metal.layout import MetalMatrix
from jangtq_kernels.metal.routing import Routing

# The two panels are neighbouring blocks; where the last has no neighbour, it is multiplied twice
# and stored once.
SOURCE = """
  typedef Tile<BITS> T;
  threadgroup float4 row_memory[T::ROWS * T::ROW_STRIDE / 4];
  threadgroup float4 panel_memory[T::INPUTS * T::FEATURE_STRIDE / 2];
  threadgroup int sources[T::ROWS];
  threadgroup float* kept_rows = (threadgroup float*)row_memory;
  threadgroup float* kept_panels = (threadgroup float*)panel_memory;
  const uint index = thread_index_in_threadgroup;
  const uint tile = threadgroup_position_in_grid.y;
  const uint block = threadgroup_position_in_grid.z * 2;
  const uint neighbour = min(block + 1, uint(BLOCKS - 1));
  const device int* tile_table = call_array(call, TILE_TABLE);
  const size_t expert = tile_table[tile * 3];
  const device uint* panels = codes + expert * (BLOCKS * QUADS * 128);
  const uint first_pair = tile_table[tile * 3 + 1];
  const uint count = tile_table[tile * 3 + 2];
  float values[8];
  load_levels<BITS>(levels, values);
  if (index < count) {
    sources[index] = first_pair + index;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  multiply_tile<BITS>(
      rotated, QUADS * 4 * (32 / BITS), sources, count, QUADS * 4 / T::WORDS, panels + block * (QUADS * 128),
      panels + neighbour * (QUADS * 128), values, index, kept_rows, kept_panels);

  const uint panel = index / 32 % 2;
  const uint feature = (block + panel) * 32 + index % 32;
  if (feature < OUT) {
    const float norm = float(norms[expert * (BLOCKS * 32) + feature]);
    for (uint row = index / 64; row < count; row += T::THREADS / 64) {
      const float product = kept_panels[(panel * 32 + row) * 32 + index % 32];
      projected[size_t(first_pair + row) * OUT + feature] = product * norm;
    }
  }
"""


class DownPrefill:
    """down(rotated row) for every pair, tile by tile."""

    def __init__(self, factory: KernelFactory) -> None:
        self._kernel = factory(
            "down_prefill",
            ["rotated", "codes", "norms", "levels", "call"],
            ["projected"],
            SOURCE,
            CALL_ARRAYS + DECODING + TILE_PRODUCTS,
            compile_options=EXACT,
        )

    def __call__(self, rotated: mx.array, routing: Routing, *, down: MetalMatrix) -> mx.array:
        """rotated: float32 [pairs, stride]. Returns float32 [pairs, hidden]."""
        (projected,) = self._kernel(
            inputs=[rotated, down.codes, down.norms, down.levels, routing.words],
            output_shapes=[(routing.pairs, down.out_features)],
            output_dtypes=[mx.float32],
            grid=(TILE_THREADS, routing.tiles, ceil_div(down.blocks, 2)),
            threadgroup=(TILE_THREADS, 1, 1),
            template=[
                *(("BITS", down.bits), ("QUADS", down.quads)),
                *(("OUT", down.out_features), ("BLOCKS", down.blocks)),
            ],
        )
        return projected
