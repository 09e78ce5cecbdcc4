"""Which experts a row meets: the top of sigmoid(logits) + correction bias, and their router weights."""

from collections.abc import Callable
from functools import cache, partial
from typing import Final

import mlx.core as mx

MOST_COMPILED_ROWS: Final = 16
"""Each number of rows is compiled by itself; decoding has few different ones, prefill many."""

_Choose = Callable[[mx.array, mx.array], tuple[mx.array, mx.array]]


def choose_experts(logits: mx.array, bias: mx.array, *, count: int) -> tuple[mx.array, mx.array]:
    """Picked experts and router weights, [..., count] each; logits: float32 [..., experts].

    On a GPU, where each of a dozen small kernels is a launch, few rows are chosen by a compiled function.
    """
    on_gpu = mx.default_device().type == mx.gpu
    is_short = logits.size <= MOST_COMPILED_ROWS * logits.shape[-1]
    return (compiled_choice(count) if on_gpu and is_short else partial(choose, count))(logits, bias)


@cache
def compiled_choice(count: int) -> _Choose:
    """The same as one compiled function."""
    compiled: _Choose = mx.compile(partial(choose, count))
    return compiled


def choose(count: int, logits: mx.array, bias: mx.array) -> tuple[mx.array, mx.array]:
    """As `choose_experts`, operation by operation."""
    scores = mx.sigmoid(logits)
    picked = mx.argpartition(-(scores + bias), kth=count - 1, axis=-1)[..., :count]
    weights = mx.take_along_axis(scores, picked, axis=-1)
    return picked, weights / (mx.sum(weights, axis=-1, keepdims=True) + 1e-20)
