"""The kernels' layout of codes and the plan of a forward: same codes, same bytes, every pair once."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.metal._tile import TILE_ROWS
from jangtq_kernels.metal.layout import MetalMatrix, lay_out
from jangtq_kernels.metal.routing import cut_tiles, plan_pairs
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


positions = st.integers(1, 80).flatmap(
    lambda rows: st.lists(
        st.lists(st.sampled_from([NO_EXPERT, 0, 1, 5]), min_size=3, max_size=3), min_size=rows, max_size=rows
    )
)


@given(positions)
def test_the_plan_holds_every_used_slot_once(slots: list[list[int]]) -> None:
    places = np.array(slots, dtype=np.int32)
    weights = np.arange(places.size, dtype=np.float32).reshape(places.shape)
    plan = plan_pairs(places, weights)
    for row in range(len(slots)):
        own = slice(plan.row_starts[row], plan.row_starts[row + 1])
        pairs = plan.slot_pairs[own]
        assert plan.pair_rows[pairs].tolist() == [row] * len(pairs)
        assert plan.pair_experts[pairs].tolist() == [place for place in slots[row] if place != NO_EXPERT]
        assert plan.slot_weights[own].tolist() == weights[row][places[row] != NO_EXPERT].tolist()
    assert sorted(plan.slot_pairs.tolist()) == list(range(plan.pairs))


@given(positions)
def test_the_tiles_cut_the_sorted_pairs(slots: list[list[int]]) -> None:
    plan = plan_pairs(np.array(slots, dtype=np.int32), np.zeros((len(slots), 3), dtype=np.float32))
    covered = 0
    for expert, first, count in cut_tiles(plan, TILE_ROWS).tolist():
        assert first == covered
        assert 1 <= count <= TILE_ROWS
        assert set(plan.pair_experts[first : first + count].tolist()) == {expert}
        covered += count
    assert covered == plan.pairs
