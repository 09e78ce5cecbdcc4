"""The kernels' layout of codes and the plan of a forward: same codes, same bytes, every pair once."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.metal.layout import MetalMatrix, lay_out
from jangtq_kernels.packing import unpack
from tests.support.metal_cases import random_matrix


def weights_of(laid: MetalMatrix, experts: int) -> NDArray[np.float32]:
    """Decodes the layout as the kernels do: the top code of a word is its last."""
    per_word = 32 // laid.bits
    words = np.array(laid.codes).reshape(experts, laid.blocks, laid.quads, 32, 4)
    words = words.transpose(0, 1, 3, 2, 4).reshape(experts, laid.blocks * 32, laid.quads * 4)
    shifts = np.arange(per_word, dtype=np.uint32) * np.uint32(laid.bits) + np.uint32(
        32 - per_word * laid.bits
    )
    codes = (words[..., None] >> shifts) & np.uint32(2**laid.bits - 1)
    half = 2 ** (laid.bits - 1)
    values = np.array(laid.levels)[codes % half] * np.where(codes < half, 1, -1)
    weights: NDArray[np.float32] = values.reshape(experts, laid.blocks * 32, -1)
    return weights[:, : laid.out_features, : laid.in_features]


@settings(deadline=None, max_examples=30)
@given(bits=st.sampled_from([2, 3, 4]), out=st.integers(1, 70), size=st.integers(8, 300))
def test_the_layout_holds_the_same_weights(bits: int, out: int, size: int) -> None:
    matrix = random_matrix(np.random.default_rng(out), (2, out, size), bits)
    expected = matrix.codebook[unpack(matrix.codes, bits, size)]
    assert np.allclose(weights_of(lay_out("gate", matrix), 2), expected, rtol=1e-6)


@pytest.mark.parametrize(("bits", "surplus"), [(2, 0), (3, 2 / 154), (4, 0)])
def test_the_layout_of_minimax_takes_the_packed_bytes(bits: int, surplus: float) -> None:
    matrix = random_matrix(np.random.default_rng(0), (1, 3072, 1536), bits)
    laid = lay_out("down", matrix)
    assert laid.nbytes == matrix.nbytes + round(matrix.codes.nbytes * surplus)


def test_a_codebook_that_is_not_symmetric_is_refused() -> None:
    matrix = random_matrix(np.random.default_rng(0), (1, 32, 64), 2)
    lopsided = np.array([-2, -1, 1, 3], dtype=np.float32)
    with pytest.raises(KernelInputError, match=r"up has codebook \[-2.0, .*not symmetric about 0"):
        lay_out("up", dataclasses.replace(matrix, codebook=lopsided))
