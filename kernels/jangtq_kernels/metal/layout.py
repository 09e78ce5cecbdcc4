"""One projection's codes as the kernels read them. Knows neither rows nor experts' ids.

Codes stay packed: sign over magnitude index instead of the bundle's offset, which saves an instruction
a weight, and 32 output features interleaved by 16 bytes, so that a SIMD-group's load is contiguous.
"""

from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np

from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.metal._common import BLOCK_ROWS, MAX_LEVELS, QUAD_WORDS, ceil_div
from jangtq_kernels.weights import PackedMatrix

SYMMETRY_TOLERANCE = 1e-6
"""Of the largest value; the codebooks of JANGTQ are symmetric to float32 rounding."""


@dataclass(frozen=True)
class MetalMatrix:
    """One projection of several experts on the device.

    codes: uint32, [experts, blocks, quads, 32, 4] flattened; 32 features of a block, 4 words of a quad.
    norms: float16 [experts, blocks * 32]; levels: float32 [8], the magnitudes in rising order.
    """

    codes: mx.array
    norms: mx.array
    levels: mx.array
    bits: int
    in_features: int
    out_features: int

    @cached_property
    def quads(self) -> int:
        return quads_of(self.in_features, self.bits)

    @cached_property
    def row_stride(self) -> int:
        """Inputs that the quads cover; a rotated row is zero from `in_features` on."""
        return self.quads * QUAD_WORDS * (32 // self.bits)

    @cached_property
    def blocks(self) -> int:
        return ceil_div(self.out_features, BLOCK_ROWS)

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.norms.nbytes


def quads_of(in_features: int, bits: int) -> int:
    """Quads of words that hold one output feature's codes."""
    return ceil_div(in_features, 32 // bits * QUAD_WORDS)


def lay_out(name: str, matrix: PackedMatrix) -> MetalMatrix:
    """Move one projection to the device; meanwhile it takes five times the memory of its codes.

    Raises KernelInputError for a codebook that is not symmetric about 0.
    """
    blocks = ceil_div(matrix.out_features, BLOCK_ROWS)
    norms = _pad(mx.array(matrix.norms), 1, blocks * BLOCK_ROWS)
    laid = MetalMatrix(
        codes=_interleave(_sign_magnitude(mx.array(matrix.codes), matrix.bits), matrix),
        norms=mx.contiguous(norms),
        levels=mx.array(_levels(name, matrix)),
        bits=matrix.bits,
        in_features=matrix.in_features,
        out_features=matrix.out_features,
    )
    mx.eval(laid.codes, laid.norms, laid.levels)
    return laid


def _sign_magnitude(words: mx.array, bits: int) -> mx.array:
    """A code c of n becomes sign (c < n / 2) over index into the magnitudes; the last code ends on top."""
    per_word = 32 // bits
    fields = sum(1 << bits * i for i in range(per_word))
    signs = mx.bitwise_and(mx.bitwise_invert(words), mx.array(fields << bits - 1, dtype=mx.uint32))
    indices = mx.bitwise_and(words, mx.array(fields * ((1 << bits - 1) - 1), dtype=mx.uint32))
    flips = signs - mx.right_shift(signs, mx.array(bits - 1, dtype=mx.uint32))
    recoded = mx.bitwise_or(signs, mx.bitwise_xor(indices, flips))
    return mx.left_shift(recoded, mx.array(32 - bits * per_word, dtype=mx.uint32))


def _interleave(words: mx.array, matrix: PackedMatrix) -> mx.array:
    experts = words.shape[0]
    quads = quads_of(matrix.in_features, matrix.bits)
    blocks = ceil_div(matrix.out_features, BLOCK_ROWS)
    padded = _pad(_pad(words, 1, blocks * BLOCK_ROWS), 2, quads * QUAD_WORDS)
    split = padded.reshape(experts, blocks, BLOCK_ROWS, quads, QUAD_WORDS)
    return mx.contiguous(split.transpose(0, 1, 3, 2, 4)).reshape(-1)


def _pad(array: mx.array, axis: int, size: int) -> mx.array:
    missing = size - array.shape[axis]
    if missing == 0:
        return array
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, missing)
    return mx.pad(array, widths)


def _levels(name: str, matrix: PackedMatrix) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    codebook = np.asarray(matrix.codebook, dtype=np.float32)
    middle = codebook.shape[0] // 2
    if np.abs(codebook + codebook[::-1]).max() > SYMMETRY_TOLERANCE * np.abs(codebook).max():
        raise KernelInputError(f"{name} has codebook {codebook.tolist()}, which is not symmetric about 0")
    levels = np.zeros(MAX_LEVELS, dtype=np.float32)
    levels[:middle] = codebook[middle:]
    return levels
