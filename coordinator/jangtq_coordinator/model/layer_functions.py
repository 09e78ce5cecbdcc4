"""What a layer computes before and after its attention over the cache, as two compiled functions.

On a GPU each small kernel is a launch, and on the host each operation is a call: compiled, the graph of a
layer is built by two calls, and what can be is one kernel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import mlx.core as mx

from jangtq_coordinator.model.expert_choice import choose
from jangtq_coordinator.model.packed_rows import pack

MOST_ROWS: Final = 16
"""Each number of rows is compiled by itself; decoding has few different ones."""

Weights = tuple[mx.array, ...]
"""A matrix [out, in], or its packed numbers, scales and biases."""


@dataclass(frozen=True)
class LayerForm:
    """All that the functions need besides arrays. bits: None for matrices that are not quantized."""

    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    rope_dims: int
    rope_base: float
    rope_scale: float
    rope_traditional: bool
    experts_per_token: int
    group_size: int | None
    bits: int | None


@dataclass(frozen=True)
class LayerWeights:
    """projections: query, key and value rows of one matrix. q_norm, k_norm: empty where there are none."""

    input_norm: mx.array
    projections: Weights
    norms: Weights
    output: Weights
    output_norm: mx.array
    router: mx.array
    router_bias: mx.array


Before = Callable[[mx.array, mx.array, mx.array, Weights, Weights], tuple[mx.array, mx.array, mx.array]]
After = Callable[
    [mx.array, mx.array, Weights, mx.array, mx.array, mx.array], tuple[mx.array, mx.array, mx.array]
]


@cache
def before_attention(form: LayerForm) -> Before:
    """Of (x, offset, input norm, projections, norms): queries, keys and values [rows, heads, 1, head size].

    x: [rows, 1, hidden]; offset: int32 [1] or [rows], where the new tokens stand.
    """
    sizes = [form.heads * form.head_dim, (form.heads + form.kv_heads) * form.head_dim]

    def before(
        x: mx.array, offset: mx.array, input_norm: mx.array, projections: Weights, norms: Weights
    ) -> tuple[mx.array, mx.array, mx.array]:
        normed = mx.fast.rms_norm(x, input_norm, form.eps)
        queries, keys, values = mx.split(_product(form, normed, projections), sizes, axis=-1)
        if norms:
            queries = mx.fast.rms_norm(queries, norms[0], form.eps)
            keys = mx.fast.rms_norm(keys, norms[1], form.eps)
        queries, keys = (_turn(form, _heads(form, each), offset) for each in (queries, keys))
        return queries, keys, _heads(form, values)

    compiled: Before = mx.compile(before)
    return compiled


@cache
def after_attention(form: LayerForm) -> After:
    """Of (x, attended, output, output norm, router, router bias): hidden states, normed rows, packed rows.

    attended: [rows, heads, 1, head size]. Packed are normed rows, expert ids and router weights.
    """

    def after(
        x: mx.array,
        attended: mx.array,
        output: Weights,
        output_norm: mx.array,
        router: mx.array,
        router_bias: mx.array,
    ) -> tuple[mx.array, mx.array, mx.array]:
        joined = attended.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)
        hidden = x + _product(form, joined, output)
        normed = mx.fast.rms_norm(hidden, output_norm, form.eps)
        logits = normed.astype(mx.float32) @ router.T
        picked, weights = choose(form.experts_per_token, logits, router_bias)
        return hidden, normed, pack(normed, picked.astype(mx.int32), weights)

    compiled: After = mx.compile(after)
    return compiled


def join(matrices: Sequence[Weights]) -> Weights:
    """Matrices for the same rows as one with the rows of all."""
    return tuple(mx.concatenate(list(parts)) for parts in zip(*matrices, strict=True))


def _product(form: LayerForm, x: mx.array, weights: Weights) -> mx.array:
    if form.bits is None:
        return x @ weights[0].T
    matrix, scales, biases = weights
    return mx.quantized_matmul(
        x, matrix, scales, biases, transpose=True, group_size=form.group_size, bits=form.bits
    )


def _heads(form: LayerForm, x: mx.array) -> mx.array:
    return x.reshape(x.shape[0], x.shape[1], -1, form.head_dim).transpose(0, 2, 1, 3)


def _turn(form: LayerForm, x: mx.array, offset: mx.array) -> mx.array:
    return mx.fast.rope(
        x,
        form.rope_dims,
        traditional=form.rope_traditional,
        base=form.rope_base,
        scale=form.rope_scale,
        offset=offset,
    )
