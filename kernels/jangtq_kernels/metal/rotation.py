"""Kernel: the randomized block Hadamard transform of rows. Knows nothing of codes and experts."""

import logging
from collections.abc import Sequence

import mlx.core as mx

from jangtq_kernels.metal._common import EXACT, KernelFactory

MAX_SIZE = 8192
"""A row of float32 fills the 32 KiB of threadgroup memory."""

ROTATION_THREADS = 1024

_log = logging.getLogger(__name__)

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
    values[r] = i < SIZE ? rows[START + row * SIZE + i] * signs[i] : 0.0f;
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


# The same butterflies in the same order through threadgroup memory: slower, and for any number of threads.
STEPWISE_SOURCE = """
  threadgroup float kept[SIZE];
  const uint index = thread_index_in_threadgroup;
  const size_t row = threadgroup_position_in_grid.y;
  for (uint i = index; i < SIZE; i += THREADS) {
    kept[i] = rows[START + row * SIZE + i] * signs[i];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint step = 1; step < SIZE; step *= 2) {
    for (uint i = index; i < SIZE; i += THREADS) {
      if ((i & step) == 0 && (i ^ SIZE) >= 2 * step) {
        const float low = kept[i], high = kept[i + step];
        kept[i] = low + high;
        kept[i + step] = low - high;
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  for (uint i = index; i < STRIDE; i += THREADS) {
    float value = 0.0f;
    if (i < SIZE) {
      value = kept[i] / precise::sqrt(float(1u << (31 - clz(i ^ SIZE))));
    }
    rotated[row * STRIDE + i] = value;
  }
"""

STEPWISE_THREADS = 256


class Rotation:
    """rotate(v) = H(signs * v) for each row, H orthonormal on the binary decomposition of the size.

    stepwise: use the kernel for GPUs whose pipeline allows fewer than ROTATION_THREADS threads.
    """

    def __init__(self, factory: KernelFactory, *, stepwise: bool = False) -> None:
        self._kernel = factory(
            "rotate_rows_stepwise" if stepwise else "rotate_rows",
            ["rows", "signs"],
            ["rotated"],
            STEPWISE_SOURCE if stepwise else SOURCE,
            compile_options=EXACT,
        )
        self._threads = STEPWISE_THREADS if stepwise else ROTATION_THREADS
        self._own_template = [("THREADS", STEPWISE_THREADS)] if stepwise else []

    def __call__(
        self, rows: mx.array, signs: mx.array, *, count: int, stride: int, start: int = 0
    ) -> mx.array:
        """rows: float32, `count` rows from `start` on. Returns float32 [count, stride], zero from size on."""
        size = signs.shape[0]
        (rotated,) = self._kernel(
            inputs=[rows, signs],
            output_shapes=[(count, stride)],
            output_dtypes=[mx.float32],
            grid=(self._threads, count, 1),
            threadgroup=(self._threads, 1, 1),
            template=[("SIZE", size), ("STRIDE", stride), ("START", start), *self._own_template],
        )
        return rotated


def open_rotation(factory: KernelFactory, *, sizes: Sequence[int]) -> Rotation:
    """The fast kernel, or the stepwise one where a pipeline for one of the sizes allows too few threads."""
    fast = Rotation(factory)
    try:
        for size in sizes:
            mx.eval(fast(mx.zeros(size), mx.ones(size), count=1, stride=size))
    except ValueError as error:  # MLX's, when a threadgroup is larger than the pipeline's limit
        _log.info("rotating with %d threads instead of %d: %s", STEPWISE_THREADS, ROTATION_THREADS, error)
        return Rotation(factory, stepwise=True)
    return fast
