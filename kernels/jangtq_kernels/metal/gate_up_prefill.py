"""Kernel: gate, up and SwiGLU of up to 32 rows of one expert, codes decoded once. Knows nothing of down."""

import mlx.core as mx

from jangtq_kernels.metal._common import CALL_ARRAYS, EXACT, KernelFactory
from jangtq_kernels.metal._decoding import DECODING
from jangtq_kernels.metal._tile import TILE_PRODUCTS, TILE_THREADS
from jangtq_kernels.metal.layout import MetalMatrix
from jangtq_kernels.metal.routing import Routing

SOURCE = """
  typedef Tile<BITS> T;
  threadgroup float4 row_memory[T::ROWS * T::ROW_STRIDE / 4];
  threadgroup float4 panel_memory[T::INPUTS * T::FEATURE_STRIDE / 2];
  threadgroup int sources[T::ROWS];
  threadgroup float* kept_rows = (threadgroup float*)row_memory;
  threadgroup float* kept_panels = (threadgroup float*)panel_memory;
  const uint index = thread_index_in_threadgroup;
  const uint tile = threadgroup_position_in_grid.y;
  const uint block = threadgroup_position_in_grid.z;
  const device int* tile_table = call_array(call, TILE_TABLE);
  const device int* pair_rows = call_array(call, PAIR_ROWS);
  const size_t expert = tile_table[tile * 3];
  const uint first_pair = tile_table[tile * 3 + 1];
  const uint count = tile_table[tile * 3 + 2];
  const size_t panel = (expert * BLOCKS + block) * (QUADS * 128);
  float values[8];
  load_levels<BITS>(levels, values);
  if (index < count) {
    sources[index] = pair_rows[first_pair + index];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  multiply_tile<BITS>(
      rotated, QUADS * 4 * (32 / BITS), sources, count, QUADS * 4 / T::WORDS, gate_codes + panel,
      up_codes + panel, values, index, kept_rows, kept_panels);

  const uint feature = block * 32 + index % 32;
  if (feature < OUT) {
    const float gate_norm = float(gate_norms[expert * (BLOCKS * 32) + feature]);
    const float up_norm = float(up_norms[expert * (BLOCKS * 32) + feature]);
    for (uint row = index / 32; row < count; row += T::THREADS / 32) {
      const float gated = kept_panels[row * 32 + index % 32] * gate_norm;
      const float raised = kept_panels[(32 + row) * 32 + index % 32] * up_norm;
      activated[size_t(first_pair + row) * OUT + feature] = gated / (1.0f + precise::exp(-gated)) * raised;
    }
  }
"""


class GateUpPrefill:
    """silu(gate(row)) * up(row) for pairs of a row and an expert, tile by tile."""

    def __init__(self, factory: KernelFactory) -> None:
        self._kernel = factory(
            "gate_up_prefill",
            [
                *("rotated", "gate_codes", "gate_norms", "up_codes", "up_norms"),
                *("levels", "call"),
            ],
            ["activated"],
            SOURCE,
            CALL_ARRAYS + DECODING + TILE_PRODUCTS,
            compile_options=EXACT,
        )

    def __call__(
        self, rotated: mx.array, routing: Routing, *, gate: MetalMatrix, up: MetalMatrix
    ) -> mx.array:
        """rotated: float32 [rows, stride]. Returns float32 [pairs, intermediate]."""
        (activated,) = self._kernel(
            inputs=[
                *(rotated, gate.codes, gate.norms, up.codes, up.norms),
                *(gate.levels, routing.words),
            ],
            output_shapes=[(routing.pairs, gate.out_features)],
            output_dtypes=[mx.float32],
            grid=(TILE_THREADS, routing.tiles, gate.blocks),
            threadgroup=(TILE_THREADS, 1, 1),
            template=[
                *(("BITS", gate.bits), ("QUADS", gate.quads)),
                *(("OUT", gate.out_features), ("BLOCKS", gate.blocks)),
            ],
        )
        return activated
