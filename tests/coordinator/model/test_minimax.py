"""The coordinator's model: what its blocks compute beside the routed experts."""

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.hashes import HASHES_FILE
from jangtq_bundle.vocabulary import AffineFormat
from jangtq_coordinator.mlx_lm import minimax
from jangtq_coordinator.model.dense_config import DenseProducts, DenseSettings
from jangtq_coordinator.model.minimax import MoeBlock, load_model
from jangtq_coordinator.model.routed_experts import RoutedExperts
from jangtq_coordinator.transport.connection import GiveUp, never
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.row_type import RowType
from tests.support.connection_answers import LayerAnswer, answer_on_grid
from tests.support.fixed_cluster import fixed_dispatcher
from tests.support.small_bundles import Tensors, edit_json, edit_tensors, store_matrix
from tests.support.small_checkpoints import Sizes
from tests.support.sparse_bundles import write_sparse_bundle

HIDDEN, EXPERTS = 64, 32


class TripleConnection:
    """Every expert triples its row, so a block's answer is three times its input."""

    def __init__(self) -> None:
        self.calls: list[LayerCall] = []

    def send(self, call: LayerCall) -> int:
        self.calls.append(call)
        return len(self.calls)

    def receive(self, call_id: int, give_up: GiveUp = never) -> LayerAnswer:
        call = self.calls[call_id - 1]
        weights = np.where(call.expert_ids >= 0, call.router_weights, 0).sum(axis=1, keepdims=True)
        answers = (3 * weights * call.rows.astype(np.float32)).astype(np.float32)
        return answer_on_grid(call, answers[:, None])

    def abandon(self) -> None:
        pass

    def close(self) -> None:
        pass


def model_args(shared_intermediate_size: int) -> minimax.ModelArgs:
    return minimax.ModelArgs(
        model_type="minimax_m2",
        hidden_size=HIDDEN,
        intermediate_size=32,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        num_experts_per_tok=4,
        num_local_experts=EXPERTS,
        shared_intermediate_size=shared_intermediate_size,
        num_hidden_layers=1,
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        rotary_dim=16,
        vocab_size=32,
        head_dim=32,
    )


def block_over(
    connection: TripleConnection, *, shared: int = 0, row_type: RowType = RowType.FLOAT32
) -> MoeBlock:
    dispatcher = fixed_dispatcher([0] * EXPERTS, [connection], row_type=row_type)
    return MoeBlock(model_args(shared), 0, RoutedExperts(dispatcher, row_type))


def some_x(rows: int = 5) -> mx.array:
    return mx.array(np.random.default_rng(rows).standard_normal((1, rows, HIDDEN)).astype(np.float32))


def test_router_weights_are_scores_without_the_bias_and_sum_to_one() -> None:
    connection = TripleConnection()
    block = block_over(connection)
    bias = np.zeros(EXPERTS, dtype=np.float32)
    bias[[2, 3, 5, 7]] = 10
    block.e_score_correction_bias = mx.array(bias)
    x = some_x()
    block(x)
    ids, weights = connection.calls[0].expert_ids, connection.calls[0].router_weights
    assert {tuple(sorted(row)) for row in ids.tolist()} == {(2, 3, 5, 7)}
    gates = np.array(x)[0].astype(np.float64) @ np.array(block.gate.weight).astype(np.float64).T
    scores = np.take_along_axis(1 / (1 + np.exp(-gates)), ids, axis=1)
    np.testing.assert_allclose(weights, scores / scores.sum(axis=1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize(
    ("row_type", "tolerance"),
    [(RowType.FLOAT32, 1e-4), (RowType.FLOAT16, 2e-3), (RowType.BFLOAT16, 1e-2)],
)
def test_rows_travel_in_the_wires_type(row_type: RowType, tolerance: float) -> None:
    connection = TripleConnection()
    x = some_x()
    answer = block_over(connection, row_type=row_type)(x)
    assert str(connection.calls[0].rows.dtype) == row_type
    np.testing.assert_allclose(np.array(answer), 3 * np.array(x), rtol=tolerance, atol=tolerance)


def test_a_shared_expert_is_added_where_the_config_has_one() -> None:
    block = block_over(TripleConnection(), shared=32)
    x = some_x()
    shared = block.shared_experts
    rows = np.array(x).astype(np.float64)

    def project(layer: nn.Linear, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values @ np.array(layer.weight).astype(np.float64).T

    gate = project(shared.gate_proj, rows)
    expected = project(shared.down_proj, gate / (1 + np.exp(-gate)) * project(shared.up_proj, rows))
    np.testing.assert_allclose(np.array(block(x)), 3 * rows + expected, rtol=1e-4, atol=1e-4)


def test_a_bundle_with_a_shared_expert_loads_all_of_it(tmp_path: Path) -> None:
    sizes = Sizes(expert_count=EXPERTS, hidden_size=64, intermediate_size=64, layer_count=1)
    bundle = Bundle.open(write_sparse_bundle(tmp_path / "bundle", sizes, shared_intermediate_size=64))
    dispatcher = fixed_dispatcher([0] * EXPERTS, [TripleConnection()])
    model = load_model(bundle, dispatcher, RowType.FLOAT32)
    assert model.layers[0].block_sparse_moe.shared_experts.down_proj.nbytes
    logits = model(mx.array([[1, 2, 3]]))
    assert logits.shape == (1, 3, bundle.config.vocabulary_size)


def test_the_last_logits_are_the_models_own(tmp_path: Path) -> None:
    sizes = Sizes(expert_count=EXPERTS, hidden_size=64, intermediate_size=64, layer_count=1)
    bundle = Bundle.open(write_sparse_bundle(tmp_path / "bundle", sizes))
    dispatcher = fixed_dispatcher([0] * EXPERTS, [TripleConnection()])
    model = load_model(bundle, dispatcher, RowType.FLOAT32)
    mx.random.seed(1)
    vocabulary = bundle.config.vocabulary_size
    model.lm_head = nn.Linear(64, vocabulary, bias=False)
    model.model.embed_tokens = nn.Embedding(vocabulary, 64)
    model.model.norm.weight = mx.ones(model.model.norm.weight.shape)
    inputs = mx.array([[1, 2, 3]])
    np.testing.assert_allclose(
        np.array(model.last_logits(inputs)), np.array(model(inputs))[:, -1, :], rtol=1e-5, atol=1e-5
    )


FORMS = {
    "model.embed_tokens": AffineFormat(6, 64),
    "lm_head": AffineFormat(4, 32),
    "model.layers.0.self_attn.q_proj": AffineFormat(5, 32),
    "model.layers.0.self_attn.o_proj": None,
}


@pytest.mark.parametrize("products", list(DenseProducts))
def test_each_matrix_is_read_in_its_own_form(products: DenseProducts, bundle_copy: Path) -> None:
    """Against the same numbers stored plain, though config.json says 2 bits of everything."""
    (bundle_copy / HASHES_FILE).unlink()
    for name, affine in FORMS.items():
        store_matrix(bundle_copy, name, affine)
    wrong = {"group_size": 64, "bits": 2, "lm_head": {"group_size": 64, "bits": 8}}
    edit_json(bundle_copy / "config.json", lambda config: config.update(quantization=wrong))
    inputs, dispatcher = mx.array([[1, 2, 3]]), fixed_dispatcher([0] * EXPERTS, [TripleConnection()])
    mixed = load_model(Bundle.open(bundle_copy), dispatcher, RowType.FLOAT32, dense=DenseSettings(products))
    edit_tensors(bundle_copy, _store_plain)
    plain = load_model(Bundle.open(bundle_copy), dispatcher, RowType.FLOAT32)
    np.testing.assert_allclose(np.array(mixed(inputs)), np.array(plain(inputs)), rtol=1e-4, atol=1e-4)


def _store_plain(tensors: Tensors) -> None:
    for name in [name.removesuffix(".scales") for name in tensors if name.endswith(".scales")]:
        affine = FORMS.get(name) or AffineFormat(8, 64)
        weight = mx.array(tensors.pop(f"{name}.weight"))
        scales, biases = (
            mx.array(tensors.pop(f"{name}.{part}").astype(np.float32)) for part in ("scales", "biases")
        )
        plain = mx.dequantize(weight, scales, biases, group_size=affine.group_size, bits=affine.bits)
        tensors[f"{name}.weight"] = np.array(plain)
