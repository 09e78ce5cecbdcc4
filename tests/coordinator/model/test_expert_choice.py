"""A compiled choice of experts is the plain one, and routers keep the numbers that the bundle has."""

from pathlib import Path

import mlx.core as mx
import numpy as np

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.model.dense_config import DenseProducts, DenseSettings
from jangtq_coordinator.model.expert_choice import choose_experts, compiled_choice
from jangtq_coordinator.model.minimax import load_model
from jangtq_proto.wire.row_type import RowType
from tests.support.connection_answers import Answering
from tests.support.fixed_cluster import fixed_dispatcher


def test_a_compiled_choice_is_the_plain_one() -> None:
    mx.random.seed(2)
    logits, bias = mx.random.normal((3, 16)), mx.random.normal((16,)) * 0.1
    picked, weights = choose_experts(logits, bias, count=4)
    again, same = compiled_choice(4)(logits, bias)
    assert np.array_equal(np.array(picked), np.array(again))
    np.testing.assert_allclose(np.array(weights), np.array(same), rtol=1e-6)


def test_routers_stay_float32_whatever_the_model_computes_in(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    connections: list[Answering] = []
    dispatcher = fixed_dispatcher([0] * bundle.config.expert_count, connections, row_type=RowType.BFLOAT16)
    plain = DenseSettings(products=DenseProducts.MLX)
    model = load_model(bundle, dispatcher, RowType.BFLOAT16, dense=plain)
    for layer in model.model.layers:
        block = layer.block_sparse_moe
        assert block.gate.weight.dtype == mx.float32 or "scales" in block.gate
        assert block.e_score_correction_bias.dtype == mx.float32
        assert layer.input_layernorm.weight.dtype == mx.bfloat16
