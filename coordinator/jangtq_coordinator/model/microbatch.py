"""Forward passes through all layers, whole or as two halves: while one is with the experts, the other is
in attention.

Sequences of a batch are shared out; of a single one the second half of its tokens follows the first, layer
by layer, so that it finds the first half's keys and values in the cache.
"""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from jangtq_coordinator.kv.layer_cache import LayerCache
from jangtq_coordinator.kv.row_view import RowView
from jangtq_coordinator.mlx_lm import create_attention_mask

LEAST_TOKENS = 16
"""A prompt's part with fewer is not worth two exchanges."""


class HalfPass:
    """Hidden states [sequences, tokens, hidden] on their way through the layers, with a cache for each."""

    def __init__(self, hidden: mx.array, cache: Sequence[object]) -> None:
        self._hidden = hidden
        self._cache = cache
        self._mask: mx.array | str | None = None
        self._block: nn.Module | None = None
        self._started: object = None

    def enter(self, index: int, layer: nn.Module) -> None:
        """Leave the layer before, go through this one's attention, and send the rows to its experts."""
        x, cache = self.leave(), self._cache[index]
        if index == 0:
            # Only now, since the other half's tokens may have to be there already.
            self._mask = create_attention_mask(x, cache)
        self._hidden = x + layer.self_attn(layer.input_layernorm(x), self._mask, cache)
        block = layer.block_sparse_moe
        self._started = block.begin(layer.post_attention_layernorm(self._hidden))
        self._block = block

    def leave(self) -> mx.array:
        """The hidden states after the layer that was entered last."""
        if self._block is not None:
            self._hidden = self._hidden + self._block.finish(self._started)
            self._block = self._started = None
        return self._hidden


def can_halve(hidden: mx.array, cache: Sequence[object]) -> bool:
    """hidden: [sequences, tokens, hidden]."""
    sequences, tokens, _ = hidden.shape
    if sequences > 1:
        return all(isinstance(layer, LayerCache) for layer in cache)
    return bool(tokens >= LEAST_TOKENS)


def run_whole(layers: Sequence[nn.Module], hidden: mx.array, cache: Sequence[object] | None) -> mx.array:
    """The hidden states [sequences, tokens, hidden] after all layers."""
    caches = cache or [None] * len(layers)
    mask = create_attention_mask(hidden, caches[0])
    for layer, layer_cache in zip(layers, caches, strict=True):
        hidden = layer(hidden, mask, layer_cache)
    return hidden


def run_halves(layers: Sequence[nn.Module], hidden: mx.array, cache: Sequence[object]) -> mx.array:
    """The same of a pass that can be halved."""
    axis = 0 if hidden.shape[0] > 1 else 1
    halves = _halves(hidden, cache, axis)
    for index, layer in enumerate(layers):
        for half in halves:
            half.enter(index, layer)
    return mx.concatenate([half.leave() for half in halves], axis=axis)


def _halves(hidden: mx.array, cache: Sequence[object], axis: int) -> tuple[HalfPass, HalfPass]:
    count = hidden.shape[axis]
    middle = (count + 1) // 2
    first, second = mx.split(hidden, [middle], axis=axis)
    if axis == 1:
        return HalfPass(first, cache), HalfPass(second, cache)
    rows = [layer for layer in cache if isinstance(layer, LayerCache)]
    return (
        HalfPass(first, [RowView(layer, range(middle)) for layer in rows]),
        HalfPass(second, [RowView(layer, range(middle, count)) for layer in rows]),
    )
