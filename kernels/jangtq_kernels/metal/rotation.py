"""Kernel: the randomized block Hadamard transform of rows. Knows nothing of codes and experts."""

import mlx.core as mx

from jangtq_kernels.metal._common import Extent, KernelFactory

MAX_SIZE = 8192
"""A row of float32 fills the 32 KiB of threadgroup memory."""

ROTATION_THREADS = 1024

# The block that input i lies in is as large as the highest bit in which i and SIZE differ, and it
# starts at a multiple of its size; so a butterfly of step h acts on i where i ^ SIZE >= 2h, and one
# pass over the whole row serves every block. Of the index, bits 0-4 are the lane, bits 5-9 the
# SIMD-group, bits 10-12 the register. One exchange through threadgroup memory swaps lane and
# SIMD-group, so bits 5-9 are shuffles too; ^ group keeps both its sides free of bank conflicts.
SOURCE = """
  constexpr uint REGISTERS = (SIZE + 1023) / 1024;
  threadgroup float kept[REGISTERS * 1024];
  const uint index = thread_index_in_threadgroup;
  const uint lane = thread_index_in_simdgroup;
  const uint group = simdgroup_index_in_threadgroup;
  const size_t row = threadgroup_position_in_grid.y;
  float values[REGISTERS];

#pragma unroll
  for (uint r = 0; r < REGISTERS; ++r) {
    const uint i = r * 1024 + index;
    values[r] = i < SIZE ? rows[row * SIZE + i] * signs[i] : 0.0f;
  }
#pragma unroll
  for (uint bit = 0; bit < 5; ++bit) {
#pragma unroll
    for (uint r = 0; r < REGISTERS; ++r) {
      const uint i = r * 1024 + index;
      const float other = simd_shuffle_xor(values[r], ushort(1 << bit));
      if (i < SIZE && (i ^ SIZE) >= (2u << bit)) {
        values[r] = (i >> bit & 1) == 0 ? values[r] + other : other - values[r];
      }
    }
  }
#pragma unroll
  for (uint r = 0; r < REGISTERS; ++r) {
    kept[r * 1024 + group * 32 + (lane ^ group)] = values[r];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
#pragma unroll
  for (uint r = 0; r < REGISTERS; ++r) {
    values[r] = kept[r * 1024 + lane * 32 + (lane ^ group)];
  }
#pragma unroll
  for (uint bit = 5; bit < 10; ++bit) {
#pragma unroll
    for (uint r = 0; r < REGISTERS; ++r) {
      const uint i = r * 1024 + lane * 32 + group;
      const float other = simd_shuffle_xor(values[r], ushort(1 << (bit - 5)));
      if (i < SIZE && (i ^ SIZE) >= (2u << bit)) {
        values[r] = (i >> bit & 1) == 0 ? values[r] + other : other - values[r];
      }
    }
  }
#pragma unroll
  for (uint bit = 10; bit < 13; ++bit) {
    const uint step = 1u << (bit - 10);
#pragma unroll
    for (uint r = 0; r < REGISTERS; ++r) {
      const uint i = r * 1024 + lane * 32 + group;
      if ((r & step) == 0 && (r | step) < REGISTERS && i < SIZE && (i ^ SIZE) >= (2u << bit)) {
        const float low = values[r], high = values[r | step];
        values[r] = low + high;
        values[r | step] = low - high;
      }
    }
  }
#pragma unroll
  for (uint r = 0; r < REGISTERS; ++r) {
    const uint i = r * 1024 + lane * 32 + group;
    const uint block = i < SIZE ? 1u << (31 - clz(i ^ SIZE)) : 1u;
    kept[r * 1024 + lane * 32 + (lane ^ group)] = values[r] / precise::sqrt(float(block));
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = index; i < STRIDE; i += 1024) {
    rotated[row * STRIDE + i] = i < SIZE ? kept[i ^ (i / 32 % 32)] : 0.0f;
  }
"""


class Rotation:
    """rotate(v) = H(signs * v) for each row, H orthonormal on the binary decomposition of the size."""

    def __init__(self, factory: KernelFactory) -> None:
        self._kernel = factory("rotate_rows", ["rows", "signs"], ["rotated"], SOURCE)

    def __call__(self, rows: mx.array, signs: mx.array, *, stride: int) -> mx.array:
        """rows: float32 [n, size]. Returns float32 [n, stride], zero from `size` on."""
        count, size = rows.shape
        grid: Extent = (ROTATION_THREADS, count, 1)
        (rotated,) = self._kernel(
            inputs=[rows, signs],
            output_shapes=[(count, stride)],
            output_dtypes=[mx.float32],
            grid=grid,
            threadgroup=(ROTATION_THREADS, 1, 1),
            template=[("SIZE", size), ("STRIDE", stride)],
        )
        return rotated
