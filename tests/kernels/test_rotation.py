"""The randomized Hadamard transform against the reference implementation."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jang_tools.turboquant.rotation import generate_random_signs, hadamard_inverse, hadamard_rotate

from jangtq_kernels.rotation import generate_signs, hadamard, hadamard_blocks, rotate, rotate_back

SIZES = (32, 96, 128, 160, 200, 320, 1536, 3072)


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
