"""Packed codes against those of the reference implementation."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jang_tools.turboquant.pipeline import pack_bits, unpack_bits
from numpy.typing import NDArray

from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.packing import pack, unpack
from jangtq_kernels.quantization import quantize
from jangtq_kernels.rotation import generate_signs
from jangtq_kernels.weights import PackedMatrix

BITS = (2, 3, 4)


def packed(weights: NDArray[np.float32], bits: int, seed: int = 42) -> PackedMatrix:
    codes, norms = quantize(weights, bits=bits, seed=seed)
    size = weights.shape[-1]
    return PackedMatrix(codes, norms, compute_codebook(size, bits), generate_signs(size, seed), bits)


@given(st.sampled_from(BITS), st.integers(1, 90))
def test_packing_is_undone_and_equals_the_reference(bits: int, size: int) -> None:
    codes = np.random.default_rng(size).integers(0, 1 << bits, size, dtype=np.uint8)
    words = pack(codes, bits)
    np.testing.assert_array_equal(words, np.array(pack_bits(mx.array(codes), bits)))
    np.testing.assert_array_equal(unpack(words, bits, size), codes)
    np.testing.assert_array_equal(np.array(unpack_bits(mx.array(words), bits, size)), codes)


@pytest.mark.parametrize("bits", BITS)
def test_rows_that_do_not_fill_their_last_word_start_a_new_one(bits: int) -> None:
    weights = np.random.default_rng(1).standard_normal((2, 3, 72 + 5)).astype(np.float32)
    matrix = packed(weights, bits)
    assert matrix.codes.shape == (2, 3, -(-77 // (32 // bits)))
    for expert in range(2):
        for row in range(3):
            alone, _ = quantize(weights[expert, row : row + 1], bits=bits, seed=42)
            np.testing.assert_array_equal(alone[0], matrix.codes[expert, row])
