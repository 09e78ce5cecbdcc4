"""Sampling parameters: candidates by their definition in NumPy, and values that are refused."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jangtq_coordinator.sampling.parameters import SamplingParameters, cut_candidates
from jangtq_proto.errors import RequestError


def kept_tokens(logits: NDArray[np.float32], parameters: SamplingParameters) -> list[int]:
    """Temperature, min-p and the top_k likeliest, then the fewest of those that hold top_p of their mass.

    A top_p of 1 cuts nothing off, however the mass is rounded.
    """
    order = np.argsort(-logits, kind="stable")[: parameters.top_k or None]
    scaled = logits[order].astype(np.float64) / parameters.temperature
    probabilities = np.exp(scaled - scaled.max())
    order, probabilities = (
        order[probabilities >= parameters.min_p],
        probabilities[probabilities >= parameters.min_p],
    )
    probabilities /= probabilities.sum()
    before = np.cumsum(probabilities) - probabilities
    return [
        int(t)
        for i, (t, mass) in enumerate(zip(order, before, strict=True))
        if i == 0 or mass < parameters.top_p or parameters.top_p == 1
    ]


@given(
    st.integers(0, 1000),
    st.integers(2, 60),
    st.sampled_from([0.3, 1.0, 2.0]),
    st.sampled_from([0.0, 0.31, 0.77, 1.0]),
    st.sampled_from([0, 1, 5, 100]),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
def test_candidates_are_those_of_the_definition(
    seed: int, vocabulary: int, temperature: float, top_p: float, top_k: int, min_p: float
) -> None:
    logits = np.random.default_rng(seed).standard_normal((2, vocabulary)).astype(np.float32) * 2
    parameters = SamplingParameters(temperature, top_p, top_k, min_p)
    ids, scores = cut_candidates(mx.array(logits), parameters)
    for row in range(2):
        kept = np.array(ids[row])[np.isfinite(np.array(scores[row]))]
        assert list(kept) == kept_tokens(logits[row], parameters)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"temperature": 3.0}, "3.0"),
        ({"top_p": 1.5}, "1.5"),
        ({"top_k": -2}, "-2"),
        ({"min_p": 1.1}, "min_p 1.1: allowed are 0 to 1"),
        ({"frequency_penalty": -2.5}, "-2.5"),
        ({"repetition_penalty": 0.0}, "0.0"),
        ({"top_logprobs": 21}, "21"),
    ],
)
def test_impossible_parameters(fields: dict[str, float], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        SamplingParameters(**fields)  # type: ignore[arg-type]
