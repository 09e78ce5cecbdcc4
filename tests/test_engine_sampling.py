"""Sampling against its definition in NumPy, and what generation_config.json may say."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jangtq_coordinator.loaded import GenerationConfig, read_generation_config
from jangtq_coordinator.sampling import SamplerPool, SamplingParameters, cut_candidates
from jangtq_proto.errors import BundleError, RequestError


def kept_tokens(logits: NDArray[np.float32], parameters: SamplingParameters) -> list[int]:
    """Temperature, then the top_k likeliest, then the fewest of those that hold top_p of their mass."""
    order = np.argsort(-logits, kind="stable")[: parameters.top_k or None]
    scaled = logits[order].astype(np.float64) / parameters.temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    before = np.cumsum(probabilities) - probabilities
    return [
        int(t)
        for i, (t, mass) in enumerate(zip(order, before, strict=True))
        if i == 0 or mass < parameters.top_p
    ]


@given(
    st.integers(0, 1000),
    st.integers(2, 60),
    st.sampled_from([0.3, 1.0, 2.0]),
    st.sampled_from([0.0, 0.31, 0.77, 1.0]),
    st.sampled_from([0, 1, 5, 100]),
)
def test_candidates_are_those_of_the_definition(
    seed: int, vocabulary: int, temperature: float, top_p: float, top_k: int
) -> None:
    logits = np.random.default_rng(seed).standard_normal((2, vocabulary)).astype(np.float32) * 2
    parameters = SamplingParameters(temperature, top_p, top_k)
    ids, scores = cut_candidates(mx.array(logits), parameters)
    for row in range(2):
        kept = np.array(ids[row])[np.isfinite(np.array(scores[row]))]
        assert list(kept) == kept_tokens(logits[row], parameters)


def test_draws_follow_the_probabilities() -> None:
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    logits = mx.array(np.log(np.tile(probabilities, (20_000, 1))).astype(np.float32))
    sampler = SamplerPool().sampler(SamplingParameters(1.0, 0.9, 0, seed=5))
    counts = np.bincount(np.array(sampler(logits)), minlength=4) / 20_000
    # The last token lies outside the top_p mass.
    np.testing.assert_allclose(counts, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0], atol=0.02)


def test_temperature_zero_takes_the_likeliest() -> None:
    sampler = SamplerPool().sampler(SamplingParameters(temperature=0))
    assert sampler(mx.array([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])).tolist() == [1, 0]


def test_a_seed_gives_the_same_draws_and_each_draw_another_key() -> None:
    logits = mx.zeros((1, 1000))
    parameters = SamplingParameters(1.0, 1.0, 0, seed=-3)
    first, second = (SamplerPool().sampler(parameters) for _ in range(2))
    draws = [[sampler(logits).item() for _ in range(5)] for sampler in (first, second)]
    assert draws[0] == draws[1] and len(set(draws[0])) > 1


def test_only_requests_without_a_seed_share_a_sampler() -> None:
    pool = SamplerPool()
    plain, seeded = SamplingParameters(), SamplingParameters(seed=1)
    assert pool.sampler(plain) is pool.sampler(SamplingParameters())
    assert pool.sampler(seeded) is not pool.sampler(seeded)
    for step in range(200):
        pool.sampler(SamplingParameters(temperature=step / 100))
    assert len(pool._shared) <= 64


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"temperature": 3.0}, "3.0"), ({"top_p": 1.5}, "1.5"), ({"top_k": -2}, "-2")],
)
def test_impossible_parameters(fields: dict[str, float], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        SamplingParameters(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, GenerationConfig()),
        ({"do_sample": False, "top_k": 5}, GenerationConfig(SamplingParameters(temperature=0))),
        (
            {"temperature": 0.6, "top_p": 0.9, "top_k": 20, "eos_token_id": [3, 4]},
            GenerationConfig(SamplingParameters(0.6, 0.9, 20), frozenset({3, 4})),
        ),
        ({"eos_token_id": 7}, GenerationConfig(eos_token_ids=frozenset({7}))),
    ],
)
def test_generation_config(config: dict[str, object], expected: GenerationConfig, tmp_path: Path) -> None:
    assert read_generation_config(tmp_path) == GenerationConfig()
    (tmp_path / "generation_config.json").write_text(json.dumps(config))
    assert read_generation_config(tmp_path) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting"),
        ("[]", "list"),
        ('{"temperature": "hot"}', "'hot'"),
        ('{"temperature": 9}', "9"),
        ('{"eos_token_id": "x"}', "'x'"),
    ],
)
def test_broken_generation_configs(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(BundleError, match=f"generation_config.json.*{words}"):
        read_generation_config(tmp_path)
