"""The format's mathematics against the reference implementation, function by function."""

import numpy as np
import pytest
from jang_tools.turboquant.linear import tq_quantize_weight
from numpy.typing import NDArray

from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.quantization import dequantize, dequantize_rotated, quantize
from jangtq_kernels.rotation import generate_signs, rotate
from jangtq_kernels.weights import PackedMatrix

SIZES = (32, 96, 128, 160, 200, 320, 1536, 3072)
BITS = (2, 3, 4)


def packed(weights: NDArray[np.float32], bits: int, seed: int = 42) -> PackedMatrix:
    codes, norms = quantize(weights, bits=bits, seed=seed)
    size = weights.shape[-1]
    return PackedMatrix(codes, norms, compute_codebook(size, bits), generate_signs(size, seed), bits)


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
