"""A cluster of real workers gives the tokens and log-probabilities of stock mlx-lm on dequantized weights."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.assembly.connect import connect
from jangtq_coordinator.config import ClusterSettings
from jangtq_coordinator.mlx_lm import minimax
from jangtq_coordinator.model.minimax import load_model
from jangtq_coordinator.model.overlap import OverlapMode
from jangtq_proto.ranges import parse_ranges
from jangtq_proto.wire.row_type import RowType
from tests.support.cluster_processes import running_workers
from tests.support.mlx_generation import generate_step
from tests.support.products import part
from tests.support.reference_bundles import Variant, dequantized_checkpoint

BundleMaker = Callable[[Variant], Path]

TOKENS = part(16, whole=64)
PROMPT_LENGTHS = (1, 5, 17, 33, 70)
LOGPROB_TOLERANCE = 2e-3


@dataclass(frozen=True)
class Continuation:
    """Greedy tokens and, for each, the log-probabilities of the whole vocabulary."""

    tokens: list[int]
    logprobs: NDArray[np.float32]


def prompts(vocabulary_size: int) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(0, vocabulary_size, length).tolist() for length in PROMPT_LENGTHS]


def continue_greedily(model: nn.Module, prompt: list[int]) -> Continuation:
    steps = [
        (int(token), np.array(logprobs.astype(mx.float32)))
        for token, logprobs in generate_step(mx.array(prompt), model, max_tokens=TOKENS)
    ]
    return Continuation([token for token, _ in steps], np.stack([logprobs for _, logprobs in steps]))


def stock_model(bundle: Bundle) -> nn.Module:
    """mlx-lm's own model with every expert in float32."""
    model = minimax.Model(minimax.ModelArgs.from_dict(json.loads((bundle.path / "config.json").read_text())))
    weights = dequantized_checkpoint(bundle.path)
    model.load_weights([(name, mx.array(value)) for name, value in weights.items()], strict=True)
    mx.eval(model.parameters())
    return model


def continuations(
    bundle_path: Path, workers: Sequence[str], *, local: str = "", overlap: OverlapMode = OverlapMode.OFF
) -> list[Continuation]:
    """Of every prompt, by a cluster with these workers and local experts."""
    bundle = Bundle.open(bundle_path)
    with running_workers(bundle_path, workers) as addresses:
        settings = ClusterSettings(
            model=bundle_path,
            workers=addresses,
            local_ranges=parse_ranges(local) if local else (),
            threads=1,
            overlap=overlap,
        )
        cluster = connect(bundle, settings, row_type=RowType.FLOAT32)
        try:
            model = load_model(bundle, cluster.dispatcher, RowType.FLOAT32, cluster.overlap)
            return [continue_greedily(model, prompt) for prompt in prompts(bundle.config.vocabulary_size)]
        finally:
            cluster.close()


@cache
def stock_continuations(bundle_path: Path) -> list[Continuation]:
    bundle = Bundle.open(bundle_path)
    stock = stock_model(bundle)
    return [continue_greedily(stock, prompt) for prompt in prompts(bundle.config.vocabulary_size)]


@cache
def local_continuations(bundle_path: Path) -> list[Continuation]:
    """By a coordinator that holds every expert itself."""
    return continuations(bundle_path, [], local="0-255")


def check_equal(bundle_path: Path, found: list[Continuation]) -> None:
    for expected, continuation in zip(stock_continuations(bundle_path), found, strict=True):
        compare(expected, continuation)


def compare(expected: Continuation, found: Continuation) -> None:
    assert len(expected.tokens) == TOKENS
    assert found.tokens == expected.tokens
    assert float(np.abs(found.logprobs - expected.logprobs).max()) <= LOGPROB_TOLERANCE


def check_equal_bits(expected: list[Continuation], found: list[Continuation]) -> None:
    for there, here in zip(expected, found, strict=True):
        assert here.tokens == there.tokens
        assert here.logprobs.tobytes() == there.logprobs.tobytes()


# What a group's tests compare with is computed once in their process.
ONE_BUNDLE = pytest.mark.xdist_group(Variant.JANGTQ2)


@pytest.mark.parametrize("variant", [pytest.param(v, marks=pytest.mark.xdist_group(v)) for v in Variant])
def test_two_workers_equal_stock(variant: Variant, reference_bundle: BundleMaker) -> None:
    path = reference_bundle(variant)
    last = Bundle.open(path).config.expert_count - 1
    half = last // 2
    check_equal(path, continuations(path, [f"0-{half}", f"{half + 1}-{last}"]))


@ONE_BUNDLE
def test_halved_prefills_equal_stock(reference_bundle: BundleMaker) -> None:
    path = reference_bundle(Variant.JANGTQ2)
    found = continuations(path, ["0-127", "128-255"], overlap=OverlapMode.ON)
    check_equal(path, found)
    check_equal_bits(local_continuations(path), found)


@ONE_BUNDLE
def test_local_experts_alone_equal_stock(reference_bundle: BundleMaker) -> None:
    path = reference_bundle(Variant.JANGTQ2)
    check_equal(path, local_continuations(path))


@ONE_BUNDLE
@pytest.mark.parametrize(
    ("workers", "local"),
    [
        (["0-255"], ""),
        (["0-127", "128-255"], ""),
        (["0-63", "64-127", "128-255"], ""),
        (["0-63", "64-127", "128-191", "192-255"], ""),
        (["0-9,250-255", "10-249"], ""),
        (["0-191", "64-255"], ""),
        (["96-255"], "0-95"),
    ],
    ids=["one", "two", "three", "four", "uneven", "doubled", "local"],
)
def test_any_placement_gives_the_same_tokens_and_log_probabilities_to_the_bit(
    workers: list[str], local: str, reference_bundle: BundleMaker
) -> None:
    path = reference_bundle(Variant.JANGTQ2)
    check_equal_bits(local_continuations(path), continuations(path, workers, local=local))
