"""Codebooks as halves: how exact they are, and how the kernels' look-up reads them."""

import numpy as np
import pytest

from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.cuda.levels import choose_levels
from jangtq_kernels.errors import KernelInputError


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("in_features", [64, 1536, 3072, 6144])
def test_levels_are_those_of_the_codebook(in_features: int, bits: int) -> None:
    codebook = compute_codebook(in_features, bits)
    levels = choose_levels("down", codebook, bits)
    expected = codebook[8:] if bits == 4 else codebook
    got = levels.halves.astype(np.float64).sum(axis=0)[: len(expected)] * levels.scale
    assert np.abs(got - expected).max() <= 2.0**-20 * np.abs(codebook).max()
    assert levels.terms == (1 if bits == 2 else 2)


def test_bytes_lie_as_the_kernels_look_them_up() -> None:
    levels = choose_levels("gate", compute_codebook(128, 3), 3)
    for term, words in zip(levels.halves, levels.words(), strict=True):
        low, high = words[:2].view(np.uint8), words[2:].view(np.uint8)
        assert np.array_equal(low.astype(np.uint16) | high.astype(np.uint16) << 8, term.view(np.uint16))


def test_a_codebook_of_zeros_stays_zero() -> None:
    assert not choose_levels("up", np.zeros(4, dtype=np.float32), 2).halves.any()


@pytest.mark.parametrize(
    ("codebook", "message"),
    [
        (np.full(16, np.nan, dtype=np.float32), "up has codebook .*not finite"),
        (np.arange(16, dtype=np.float32), "up has codebook .*not symmetric"),
    ],
)
def test_codebooks_that_no_bundle_has_are_named(codebook: np.ndarray, message: str) -> None:
    with pytest.raises(KernelInputError, match=message):
        choose_levels("up", codebook, 4)
