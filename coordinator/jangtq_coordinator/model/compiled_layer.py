"""A decoder layer on a GPU: of few rows, one token each goes through compiled functions.

Anything else (prompts, many rows, other caches) goes through the layer's own modules.
"""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from jangtq_coordinator.kv.layer_cache import LayerCache
from jangtq_coordinator.mlx_lm import minimax, scaled_dot_product_attention
from jangtq_coordinator.model.layer_functions import (
    MOST_ROWS,
    LayerForm,
    LayerWeights,
    Weights,
    after_attention,
    before_attention,
    join,
)

_PROJECTIONS = ("q_proj", "k_proj", "v_proj")


class CompiledLayer(nn.Module):
    """As the layer given, whose modules it has. Their block has `begin_packed` and `finish`, as MoeBlock."""

    def __init__(self, layer: nn.Module, form: LayerForm) -> None:
        super().__init__()
        self.self_attn = layer.self_attn
        self.block_sparse_moe = layer.block_sparse_moe
        self.input_layernorm = layer.input_layernorm
        self.post_attention_layernorm = layer.post_attention_layernorm
        self._weights = _joined(layer)
        self._before, self._after = before_attention(form), after_attention(form)

    def __call__(self, x: mx.array, mask: object = None, cache: object = None) -> mx.array:
        """x: [rows, tokens, hidden]."""
        rows, tokens, _ = x.shape
        if tokens == 1 and rows <= MOST_ROWS and isinstance(cache, LayerCache):
            return self._decode(x, mask, cache)
        x = x + self.self_attn(self.input_layernorm(x), mask, cache)
        result: mx.array = x + self.block_sparse_moe(self.post_attention_layernorm(x))
        return result

    def _decode(self, x: mx.array, mask: object, cache: LayerCache) -> mx.array:
        weights, offset = self._weights, cache.offset
        offset = mx.array([offset]) if isinstance(offset, int) else offset
        queries, keys, values = self._before(
            x, offset, weights.input_norm, weights.projections, weights.norms
        )
        attended = scaled_dot_product_attention(
            queries,
            *cache.update_and_fetch(keys, values),
            cache=cache,
            scale=self.self_attn.scale,
            mask=mask,
        )
        x, normed, packed = self._after(
            x, attended, weights.output, weights.output_norm, weights.router, weights.router_bias
        )
        block = self.block_sparse_moe
        result: mx.array = x + block.finish(block.begin_packed(normed, packed))
        return result


def compile_layers(layers: list[nn.Module], args: minimax.ModelArgs) -> int:
    """Replace, in the list, the layers that can be compiled; how many were."""
    count = 0
    for index, layer in enumerate(layers):
        form = form_of(layer, args)
        if form is not None:
            layers[index] = CompiledLayer(layer, form)
            count += 1
    return count


def form_of(layer: nn.Module, args: minimax.ModelArgs) -> LayerForm | None:
    """None if the layer's matrices are not stored alike, or if it has what the functions do not know."""
    attention, gate = layer.self_attn, layer.block_sparse_moe.gate
    matrices = [attention[name] for name in (*_PROJECTIONS, "o_proj")]
    formats = {_format_of(matrix) for matrix in matrices}
    if len(formats) != 1 or None in formats or type(gate) is not nn.Linear or "bias" in gate:
        return None
    ((bits, group_size),) = formats  # type: ignore[misc]
    rope = attention.rope
    return LayerForm(
        head_dim=attention.head_dim,
        heads=attention.num_attention_heads,
        kv_heads=attention.num_key_value_heads,
        eps=args.rms_norm_eps,
        rope_dims=rope.dims,
        rope_base=rope.base,
        rope_scale=rope.scale,
        rope_traditional=rope.traditional,
        experts_per_token=args.num_experts_per_tok,
        group_size=group_size or None,
        bits=bits or None,
    )


def _format_of(matrix: nn.Module) -> tuple[int, int] | None:
    """Bits and group size, zeros for plain numbers; None for what only the module itself can compute."""
    if "bias" in matrix:
        return None
    if isinstance(matrix, nn.QuantizedLinear):
        return (matrix.bits, matrix.group_size) if matrix.mode == "affine" else None
    return (0, 0) if type(matrix) is nn.Linear else None


def _joined(layer: nn.Module) -> LayerWeights:
    """The layer's arrays; its three projections become views of one matrix."""
    attention, block = layer.self_attn, layer.block_sparse_moe
    projections = join([_weights(attention[name]) for name in _PROJECTIONS])
    mx.eval(projections)
    _share([attention[name] for name in _PROJECTIONS], projections)
    norms: Weights = (attention.q_norm.weight, attention.k_norm.weight) if attention.use_qk_norm else ()
    return LayerWeights(
        input_norm=layer.input_layernorm.weight,
        projections=projections,
        norms=norms,
        output=_weights(attention.o_proj),
        output_norm=layer.post_attention_layernorm.weight,
        router=block.gate.weight,
        router_bias=block.e_score_correction_bias,
    )


def _share(matrices: Sequence[nn.Module], joined: Weights) -> None:
    start = 0
    for matrix in matrices:
        stop = start + matrix.weight.shape[0]
        for name, part in zip(("weight", "scales", "biases"), joined, strict=False):
            matrix[name] = part[start:stop]
            mx.eval(matrix[name])
        start = stop


def _weights(matrix: nn.Module) -> Weights:
    if isinstance(matrix, nn.QuantizedLinear):
        return matrix.weight, matrix.scales, matrix.biases
    return (matrix.weight,)
