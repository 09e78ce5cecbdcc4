"""The format's mathematics against the reference implementation, function by function."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jang_tools.turboquant.codebook import compute_codebook as jang_codebook
from jang_tools.turboquant.linear import tq_quantize_weight
from jang_tools.turboquant.pipeline import pack_bits, unpack_bits
from jang_tools.turboquant.rotation import generate_random_signs, hadamard_inverse, hadamard_rotate
from numpy.typing import NDArray

from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.packing import pack, unpack
from jangtq_kernels.quantization import dequantize, dequantize_rotated, quantize
from jangtq_kernels.rotation import generate_signs, hadamard, hadamard_blocks, rotate, rotate_back
from jangtq_kernels.weights import PackedMatrix

SIZES = (32, 96, 128, 160, 200, 320, 1536, 3072)
BITS = (2, 3, 4)


def packed(weights: NDArray[np.float32], bits: int, seed: int = 42) -> PackedMatrix:
    codes, norms = quantize(weights, bits=bits, seed=seed)
    size = weights.shape[-1]
    return PackedMatrix(codes, norms, compute_codebook(size, bits), generate_signs(size, seed), bits)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("size", (*SIZES, 2, 3, 6144))
def test_codebooks_are_equal_in_float32(size: int, bits: int) -> None:
    np.testing.assert_array_equal(compute_codebook(size, bits), np.float32(jang_codebook(size, bits)))


@pytest.mark.parametrize("size", SIZES)
def test_signs_are_equal(size: int) -> None:
    np.testing.assert_array_equal(generate_signs(size, 42), np.array(generate_random_signs(size, seed=42)))


@pytest.mark.parametrize("size", SIZES)
def test_rotations_agree(size: int) -> None:
    x = np.random.default_rng(size).standard_normal((3, size))
    signs = generate_signs(size, 42)
    there = np.array(hadamard_rotate(mx.array(x, dtype=mx.float32), mx.array(signs)))
    back = np.array(hadamard_inverse(mx.array(x, dtype=mx.float32), mx.array(signs)))
    np.testing.assert_allclose(rotate(x, signs), there, atol=1e-5)
    np.testing.assert_allclose(rotate_back(x, signs), back, atol=1e-5)


@given(st.integers(1, 700))
@settings(max_examples=30, deadline=None)
def test_the_transform_is_orthonormal_and_its_own_inverse(size: int) -> None:
    x = np.random.default_rng(size).standard_normal((2, size))
    assert sum(hadamard_blocks(size)) == size
    np.testing.assert_allclose(hadamard(hadamard(x)), x, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(hadamard(x), axis=1), np.linalg.norm(x, axis=1))


@given(st.sampled_from(BITS), st.integers(1, 90))
def test_packing_is_undone_and_equals_the_reference(bits: int, size: int) -> None:
    codes = np.random.default_rng(size).integers(0, 1 << bits, size, dtype=np.uint8)
    words = pack(codes, bits)
    np.testing.assert_array_equal(words, np.array(pack_bits(mx.array(codes), bits)))
    np.testing.assert_array_equal(unpack(words, bits, size), codes)
    np.testing.assert_array_equal(np.array(unpack_bits(mx.array(words), bits, size)), codes)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("size", SIZES)
def test_codes_and_norms_are_equal(size: int, bits: int) -> None:
    # The reference packs only sizes that fill every word.
    size += -size % (32 // bits)
    weights = np.random.default_rng(size).standard_normal((24, size)).astype(np.float32)
    expected = tq_quantize_weight(weights, bits=bits, seed=42)
    codes, norms = quantize(weights, bits=bits, seed=42)
    np.testing.assert_array_equal(codes, expected["packed"])
    np.testing.assert_array_equal(norms, expected["norms"])


@pytest.mark.parametrize("bits", BITS)
def test_rows_that_do_not_fill_their_last_word_start_a_new_one(bits: int) -> None:
    weights = np.random.default_rng(1).standard_normal((2, 3, 72 + 5)).astype(np.float32)
    matrix = packed(weights, bits)
    assert matrix.codes.shape == (2, 3, -(-77 // (32 // bits)))
    for expert in range(2):
        for row in range(3):
            alone, _ = quantize(weights[expert, row : row + 1], bits=bits, seed=42)
            np.testing.assert_array_equal(alone[0], matrix.codes[expert, row])


@pytest.mark.parametrize("bits", BITS)
def test_dequantized_weights_are_near_and_keep_their_products(bits: int) -> None:
    random = np.random.default_rng(bits)
    weights = random.standard_normal((2, 16, 192)).astype(np.float32)
    matrix = packed(weights, bits)
    dense = dequantize(matrix)
    # Lloyd-Max distortion of a Gaussian: 0.1175, 0.0345 and 0.0095 of its variance for 2, 3 and 4 bits.
    bound = {2: 0.1175, 3: 0.0345, 4: 0.0095}[bits]
    assert np.sum((dense - weights) ** 2) <= 1.15 * bound * np.sum(weights.astype(np.float64) ** 2)
    x = random.standard_normal((4, 192))
    np.testing.assert_allclose(
        x @ dense[0].T, rotate(x, matrix.signs) @ dequantize_rotated(matrix)[0].T, atol=1e-10
    )


def test_a_row_of_zeros_stays_zero() -> None:
    assert not dequantize(packed(np.zeros((1, 2, 64), dtype=np.float32), 2)).any()
