"""Layers through compiled functions: the same hidden states, and what they do not take."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from jangtq_coordinator.kv.layer_cache import KvForm, LayerCache
from jangtq_coordinator.mlx_lm import create_attention_mask, minimax
from jangtq_coordinator.model.compiled_layer import CompiledLayer, compile_layers
from jangtq_coordinator.model.layer_functions import MOST_ROWS
from jangtq_coordinator.model.minimax import MoeBlock
from jangtq_coordinator.model.routed_experts import RoutedExperts
from jangtq_proto.wire.row_type import RowType
from tests.coordinator.model.test_minimax import EXPERTS, HIDDEN, TripleConnection, model_args
from tests.support.fixed_cluster import fixed_dispatcher


def some_layer(*, bits: int | None, shared: int = 0) -> nn.Module:
    mx.random.seed(0)
    args = model_args(shared)
    layer = minimax.MiniMaxDecoderLayer(args)
    dispatcher = fixed_dispatcher([0] * EXPERTS, [TripleConnection()])
    layer.block_sparse_moe = MoeBlock(args, 0, RoutedExperts(dispatcher, RowType.FLOAT32))
    layer.block_sparse_moe.gate.weight = mx.random.normal((EXPERTS, HIDDEN))
    if bits is not None:
        nn.quantize(layer.self_attn, group_size=32, bits=bits)
    mx.eval(layer.parameters())
    return layer


def compiled(layer: nn.Module) -> CompiledLayer:
    layers = [layer]
    assert compile_layers(layers, model_args(0)) == 1
    (found,) = layers
    assert isinstance(found, CompiledLayer)
    return found


def run(layer: nn.Module, cache: LayerCache, tokens: list[int]) -> list[np.ndarray]:
    """Passes of so many tokens a row, one after the other."""
    mx.random.seed(1)
    found = []
    for count in tokens:
        x = mx.random.normal((len(cache.lengths), count, HIDDEN))
        found.append(np.array(layer(x, create_attention_mask(x, cache), cache)))
    return found


@pytest.mark.parametrize("bits", [None, 8, 4])
@pytest.mark.parametrize("kv_bits", [None, 8])
@pytest.mark.parametrize("lengths", [[0], [7, 0, 2]], ids=str)
def test_the_layers_own_modules_find_the_same(
    bits: int | None, kv_bits: int | None, lengths: list[int]
) -> None:
    layer = some_layer(bits=bits, shared=32 if bits == 4 else 0)
    found = []
    for form in ("plain", "compiled"):
        cache = LayerCache(KvForm(kv_bits, 32), len(lengths))
        mx.random.seed(2)
        if max(lengths):
            kv = mx.random.normal((2, len(lengths), 1, max(lengths), 32))
            cache.update_and_fetch(kv[0], kv[1])
            cache.cut(lengths)
        found.append(run(layer if form == "plain" else compiled(layer), cache, [1, 1, 3, 1]))
    for plain, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, plain, rtol=2e-5, atol=2e-5)


def test_many_rows_go_through_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = compiled(some_layer(bits=8))
    monkeypatch.setattr(CompiledLayer, "_decode", lambda *_: pytest.fail("it was compiled"))
    cache = LayerCache(KvForm(), MOST_ROWS + 1)
    assert run(layer, cache, [1])[0].shape == (MOST_ROWS + 1, 1, HIDDEN)


def test_the_projections_are_in_memory_once() -> None:
    layer = compiled(some_layer(bits=8))
    joined = np.array(layer._weights.projections[0], copy=False)
    for name in ("q_proj", "k_proj", "v_proj"):
        assert np.shares_memory(np.array(layer.self_attn[name].weight, copy=False), joined), name


@pytest.mark.parametrize("spoil", ["bias", "bits"])
def test_a_layer_that_is_stored_otherwise_stays(spoil: str) -> None:
    layer = some_layer(bits=None)
    if spoil == "bias":
        layer.self_attn.k_proj.bias = mx.zeros(32)
    else:
        layer.self_attn.o_proj = nn.QuantizedLinear.from_linear(layer.self_attn.o_proj, 32, 8)
    assert compile_layers([layer], model_args(0)) == 0
