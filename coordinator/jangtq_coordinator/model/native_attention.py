"""MiniMax attention on a CPU: native products, and native attention over the KV cache as it is stored."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from jangtq_coordinator.kv.layer_cache import LayerCache, Parts, StoredRows
from jangtq_coordinator.kv.row_view import RowView
from jangtq_coordinator.mlx_lm import minimax
from jangtq_coordinator.model.native_layers import matrix_set, multiply_all, view_of
from jangtq_kernels.dense.kernels import DenseKernels, KvColumns


class NativeAttention(nn.Module):
    """As the attention given, whose parts it keeps; that one computes for caches of other kinds."""

    def __init__(self, kernels: DenseKernels, attention: minimax.MiniMaxAttention) -> None:
        super().__init__()
        self.parts = attention
        self._kernels = kernels
        self._projections = matrix_set([attention.q_proj, attention.k_proj, attention.v_proj])

    def __call__(
        self, x: mx.array, mask: mx.array | str | None = None, cache: object | None = None
    ) -> mx.array:
        """x: [rows, tokens, hidden]. The mask of our caches says no more than their lengths."""
        projections = self._projections
        if projections is None or x.dtype != mx.float32 or not isinstance(cache, LayerCache | RowView):
            result: mx.array = self.parts(x, mask, cache)
            return result
        queries, keys, values = multiply_all(self._kernels, x, projections)
        offset = cache.offset
        queries = self.parts.rope(self._heads(self._normed(queries, "q_norm")), offset=offset)
        keys = self.parts.rope(self._heads(self._normed(keys, "k_norm")), offset=offset)
        cache.update_and_fetch(keys, self._heads(values))
        result = self.parts.o_proj(self._attend(queries, cache.stored(queries)))
        return result

    def _normed(self, x: mx.array, norm: str) -> mx.array:
        return self.parts[norm](x) if self.parts.use_qk_norm else x

    def _heads(self, x: mx.array) -> mx.array:
        """[rows, tokens, heads * head size] as [rows, heads, tokens, head size]."""
        rows, tokens, _ = x.shape
        return x.reshape(rows, tokens, -1, self.parts.head_dim).transpose(0, 2, 1, 3)

    def _attend(self, queries: mx.array, stored: StoredRows) -> mx.array:
        answers = self._kernels.attend(
            np.require(view_of(queries), np.float32, ["C", "A"]),
            _columns(stored.keys, stored),
            _columns(stored.values, stored),
            lengths=stored.lengths,
            scale=self.parts.scale,
        )
        return mx.array(answers)


def _columns(parts: Parts, stored: StoredRows) -> KvColumns:
    views = tuple(view_of(part)[stored.rows.start : stored.rows.stop] for part in parts)
    bits = stored.form.bits
    return KvColumns(views) if bits is None else KvColumns(views, bits, stored.form.group_size)
