"""What the Metal kernels share: MLX's kernel type, the sizes of the layout and the decoding of codes."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import mlx.core as mx

SIMD_WIDTH = 32

BLOCK_ROWS = SIMD_WIDTH
"""Output features laid side by side, so that a SIMD-group's loads of codes are contiguous."""

QUAD_WORDS = 4
"""Words of one output feature loaded at once: 16 bytes, the widest load there is."""

MIN_DEVICE_ELEMENTS = 8
"""MLX puts smaller inputs in the constant address space, which would be another signature."""

MAX_DECODE_ROWS = 4
"""Rows of one expert that share its decoding; more would spill the registers."""

CALL_ARRAYS = """
enum { PAIR_EXPERTS, PAIR_ROWS, SLOT_PAIRS, SLOT_WEIGHTS, ROW_STARTS, SCALES, TILE_TABLE };

inline const device int* call_array(const device float* words, int which) {
  const device int* integers = (const device int*)words;
  return integers + integers[which];
}
"""
"""How kernels find the arrays of a call: the names are those of routing.py."""

MAX_LEVELS = 8
"""Magnitudes of a 4-bit codebook."""

Extent = tuple[int, int, int]


class MetalKernel(Protocol):
    """A kernel of `mx.fast.metal_kernel`."""

    def __call__(
        self,
        *,
        inputs: Sequence[mx.array],
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[mx.Dtype],
        grid: Extent,
        threadgroup: Extent,
        template: Sequence[tuple[str, int]],
    ) -> list[mx.array]: ...


class KernelFactory(Protocol):
    """`mx.fast.metal_kernel`, or what stands in for it."""

    def __call__(
        self,
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        source: str,
        header: str = "",
        *,
        compile_options: Mapping[str, str],
    ) -> MetalKernel: ...


EXACT: Final = {"math_mode": "safe"}
"""Comparisons with NaN, which the decoding of codes relies on, are IEEE's in this mode alone."""


def ceil_div(size: int, step: int) -> int:
    return -(-size // step)
