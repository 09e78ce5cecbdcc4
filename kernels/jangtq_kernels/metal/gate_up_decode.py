"""Kernel: gate, up and SwiGLU of single rows in one dispatch. Knows nothing of down."""

import mlx.core as mx

from jangtq_kernels.metal._common import SIMD_WIDTH, KernelFactory
from jangtq_kernels.metal._decoding import DECODING, DOT_PRODUCTS
from jangtq_kernels.metal.layout import MetalMatrix
from jangtq_kernels.metal.routing import Routing

SIMDGROUPS = 8
"""They share the quads of a block; a layer's decode then has about 40 SIMD-groups for each of 76 cores."""

# Lanes 0-15 take the even quads and lanes 16-31 the odd ones, two gate and two up features each:
# every value of the row read serves four weights. The parts are summed in a fixed order.
SOURCE = """
  threadgroup float parts[SIMDGROUPS][4][16];
  const uint lane = thread_index_in_simdgroup;
  const uint group = simdgroup_index_in_threadgroup;
  const uint pair = threadgroup_position_in_grid.y;
  const uint block = threadgroup_position_in_grid.z;
  const size_t expert = pair_experts[pair];
  const size_t first = ((expert * BLOCKS + block) * QUADS) * 32 + lane % 16;
  const device uint4* gate = (const device uint4*)gate_codes + first;
  const device uint4* up = (const device uint4*)up_codes + first;
  const device float* row = rotated + size_t(pair_rows[pair]) * (QUADS * 4 * (32 / BITS));
  float values[8];
  load_levels<BITS>(levels, values);
  float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};

  for (uint quad = group * 2 + lane / 16; quad < QUADS; quad += SIMDGROUPS * 2) {
    const uint4 codes[4] = {gate[quad * 32], gate[quad * 32 + 16], up[quad * 32], up[quad * 32 + 16]};
    add_products<BITS, 4>(codes, row + quad * 4 * (32 / BITS), values, sums);
  }
  for (uint f = 0; f < 4; ++f) {
    sums[f] += simd_shuffle_xor(sums[f], ushort(16));
    if (lane < 16) {
      parts[group][f][lane] = sums[f];
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  const uint index = thread_index_in_threadgroup;
  const uint feature = block * 32 + index;
  if (index < 32 && feature < OUT) {
    float gated = 0.0f, raised = 0.0f;
    for (uint part = 0; part < SIMDGROUPS; ++part) {
      gated += parts[part][index / 16][index % 16];
      raised += parts[part][2 + index / 16][index % 16];
    }
    gated *= float(gate_norms[expert * (BLOCKS * 32) + feature]);
    raised *= float(up_norms[expert * (BLOCKS * 32) + feature]);
    activated[size_t(pair) * OUT + feature] = gated / (1.0f + precise::exp(-gated)) * raised;
  }
"""


class GateUpDecode:
    """silu(gate(row)) * up(row) for pairs of a row and an expert, each computed alone."""

    def __init__(self, factory: KernelFactory) -> None:
        self._kernel = factory(
            "gate_up_decode",
            [
                *("rotated", "gate_codes", "gate_norms", "up_codes", "up_norms"),
                *("levels", "pair_experts", "pair_rows"),
            ],
            ["activated"],
            SOURCE,
            DECODING + DOT_PRODUCTS,
        )

    def __call__(self, rotated: mx.array, gate: MetalMatrix, up: MetalMatrix, routing: Routing) -> mx.array:
        """rotated: float32 [rows, stride]. Returns float32 [pairs, intermediate]."""
        threads = SIMDGROUPS * SIMD_WIDTH
        (activated,) = self._kernel(
            inputs=[
                *(rotated, gate.codes, gate.norms, up.codes, up.norms),
                *(gate.levels, routing.pair_experts, routing.pair_rows),
            ],
            output_shapes=[(routing.pairs, gate.out_features)],
            output_dtypes=[mx.float32],
            grid=(threads, routing.pairs, gate.blocks),
            threadgroup=(threads, 1, 1),
            template=[
                *(("BITS", gate.bits), ("QUADS", gate.quads), ("OUT", gate.out_features)),
                *(("BLOCKS", gate.blocks), ("SIMDGROUPS", SIMDGROUPS)),
            ],
        )
        return activated
