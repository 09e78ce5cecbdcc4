"""Codebooks against those of the reference implementation."""

import numpy as np
import pytest
from jang_tools.turboquant.codebook import compute_codebook as jang_codebook

from jangtq_kernels.codebook import compute_codebook

SIZES = (32, 96, 128, 160, 200, 320, 1536, 3072)


BITS = (2, 3, 4)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("size", (*SIZES, 2, 3, 6144))
def test_codebooks_are_equal_in_float32(size: int, bits: int) -> None:
    np.testing.assert_array_equal(compute_codebook(size, bits), np.float32(jang_codebook(size, bits)))
