"""Kernel: gate, up and SwiGLU of few rows in one dispatch. Knows nothing of down."""

import mlx.core as mx

from jangtq_kernels.metal._common import CALL_ARRAYS, EXACT, SIMD_WIDTH, KernelFactory
from jangtq_kernels.metal._decoding import DECODING, DOT_PRODUCTS
from jangtq_kernels.metal.layout import MetalMatrix
from jangtq_kernels.metal.routing import Routing

SIMDGROUPS = 8
"""They share the quads of a block; a layer's decode then has about 40 SIMD-groups for each of 76 cores."""

# Lanes 0-15 take the even quads and lanes 16-31 the odd ones, two gate and two up features each:
# every value of a row read serves four weights. The parts are summed in a fixed order, which
# depends neither on ROWS nor on the other rows.
SOURCE = """
  threadgroup float parts[SIMDGROUPS][ROWS * 4][16];
  const uint lane = thread_index_in_simdgroup;
  const uint group = simdgroup_index_in_threadgroup;
  const uint tile = threadgroup_position_in_grid.y;
  const uint block = threadgroup_position_in_grid.z;
  const device int* tile_table = call_array(call, TILE_TABLE);
  const device int* pair_rows = call_array(call, PAIR_ROWS);
  const size_t expert = tile_table[tile * 3];
  const uint first_pair = tile_table[tile * 3 + 1];
  const uint count = tile_table[tile * 3 + 2];
  const size_t panel = ((expert * BLOCKS + block) * QUADS) * 32 + lane % 16;
  const device uint4* gate = (const device uint4*)gate_codes + panel;
  const device uint4* up = (const device uint4*)up_codes + panel;
  float values[8];
  load_levels<BITS>(levels, values);
  const device float* rows[ROWS];
  float sums[ROWS * 4];
#pragma unroll
  for (uint r = 0; r < ROWS; ++r) {
    rows[r] = rotated + size_t(pair_rows[first_pair + min(r, count - 1)]) * (QUADS * 4 * (32 / BITS));
  }
#pragma unroll
  for (uint i = 0; i < ROWS * 4; ++i) {
    sums[i] = 0.0f;
  }

  for (uint quad = group * 2 + lane / 16; quad < QUADS; quad += SIMDGROUPS * 2) {
    const uint4 codes[4] = {gate[quad * 32], gate[quad * 32 + 16], up[quad * 32], up[quad * 32 + 16]};
    add_products<BITS, 4, ROWS>(codes, rows, quad * 4 * (32 / BITS), values, sums);
  }
#pragma unroll
  for (uint i = 0; i < ROWS * 4; ++i) {
    sums[i] += simd_shuffle_xor(sums[i], ushort(16));
    if (lane < 16) {
      parts[group][i][lane] = sums[i];
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const uint index = thread_index_in_threadgroup % 32;
  const uint row = thread_index_in_threadgroup / 32;
  const uint feature = block * 32 + index;
  if (row < count && feature < OUT) {
    float gated = 0.0f, raised = 0.0f;
    for (uint part = 0; part < SIMDGROUPS; ++part) {
      gated += parts[part][row * 4 + index / 16][index % 16];
      raised += parts[part][row * 4 + 2 + index / 16][index % 16];
    }
    gated *= float(gate_norms[expert * (BLOCKS * 32) + feature]);
    raised *= float(up_norms[expert * (BLOCKS * 32) + feature]);
    activated[size_t(first_pair + row) * OUT + feature] = gated / (1.0f + precise::exp(-gated)) * raised;
  }
"""


class GateUpDecode:
    """silu(gate(row)) * up(row) for pairs of a row and an expert, up to four rows of an expert together."""

    def __init__(self, factory: KernelFactory) -> None:
        self._kernel = factory(
            "gate_up_decode",
            [
                *("rotated", "gate_codes", "gate_norms", "up_codes", "up_norms"),
                *("levels", "call"),
            ],
            ["activated"],
            SOURCE,
            CALL_ARRAYS + DECODING + DOT_PRODUCTS,
            compile_options=EXACT,
        )

    def __call__(
        self, rotated: mx.array, routing: Routing, *, gate: MetalMatrix, up: MetalMatrix
    ) -> mx.array:
        """rotated: float32 [rows, stride]. Returns float32 [pairs, intermediate]."""
        threads = SIMDGROUPS * SIMD_WIDTH
        (activated,) = self._kernel(
            inputs=[
                *(rotated, gate.codes, gate.norms, up.codes, up.norms),
                *(gate.levels, routing.words),
            ],
            output_shapes=[(routing.pairs, gate.out_features)],
            output_dtypes=[mx.float32],
            grid=(threads, routing.tiles, gate.blocks),
            threadgroup=(threads, 1, 1),
            template=[
                *(("BITS", gate.bits), ("QUADS", gate.quads), ("OUT", gate.out_features)),
                *(("BLOCKS", gate.blocks), ("SIMDGROUPS", SIMDGROUPS), ("ROWS", routing.tile_rows)),
            ],
        )
        return activated
