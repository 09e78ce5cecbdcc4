"""Who computes dense layers, what that takes, and that answers stay the same."""

import logging
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.assembly.connect import connect
from jangtq_coordinator.config import ClusterSettings
from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.kv.layer_cache import KvForm
from jangtq_coordinator.model.dense_config import DenseProducts, DenseSettings
from jangtq_coordinator.model.dense_weights import prepare_dense
from jangtq_coordinator.model.minimax import CoordinatorModel, load_model
from jangtq_coordinator.model.native_layers import NativeEmbedding, NativeLinear
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.ranges import parse_ranges
from jangtq_proto.wire.row_type import RowType

QUANTIZED_BYTES = (32 + 8) * (2 * 96 + 3 * 32)
"""Of every 32 numbers: 32 codes, a scale and a bias."""


def test_threads_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="--dense-threads 0"):
        DenseSettings(threads=0)


def packed_layers() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(64, 96, bias=True), nn.Linear(96, 32, bias=False))
    nn.quantize(model, group_size=32, bits=8)
    return model


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_native_layers_give_the_same_and_tell_their_size(rows: int, caplog: pytest.LogCaptureFixture) -> None:
    model = packed_layers()
    x = mx.random.normal((2, rows, 64), key=mx.random.key(1))
    before = np.array(model(x))
    with caplog.at_level(logging.INFO, "jangtq.dense"):
        report = prepare_dense(model, DenseSettings(threads=2), mx.float32)
    assert [type(layer) for layer in model.layers] == [NativeLinear, NativeLinear]
    np.testing.assert_allclose(np.array(model(x)), before, rtol=1e-3, atol=3e-4)
    assert report.nbytes == QUANTIZED_BYTES
    assert report.products.endswith("threads: 2")
    assert f"computed by {report.products}" in caplog.text


def test_a_native_embedding_looks_up_and_multiplies() -> None:
    model = nn.Sequential(nn.Embedding(30, 64).to_quantized(group_size=64, bits=6))
    ids, x = mx.array([[3, 29, 0]]), mx.random.normal((2, 64), key=mx.random.key(1))
    rows, products = np.array(model(ids)), np.array(model.layers[0].as_linear(x))
    prepare_dense(model, DenseSettings(threads=1), mx.float32)
    assert isinstance(model.layers[0], NativeEmbedding)
    np.testing.assert_allclose(np.array(model(ids)), rows, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.array(model.layers[0].as_linear(x)), products, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [(DenseSettings(DenseProducts.MLX), mx.float32), (DenseSettings(), mx.float16)],
    ids=["asked for", "half precision"],
)
def test_mlx_computes_where_it_shall(settings: DenseSettings, dtype: mx.Dtype) -> None:
    model = packed_layers()
    report = prepare_dense(model, settings, dtype)
    assert (report.products, report.nbytes) == ("MLX", QUANTIZED_BYTES)
    assert [type(layer) for layer in model.layers] == [nn.QuantizedLinear, nn.QuantizedLinear]


@pytest.mark.parametrize("form", [KvForm(), KvForm(8, 32), KvForm(4, 32)], ids=["float", "8", "4"])
def test_logits_are_the_same_whoever_computes(small_bundle: Path, form: KvForm) -> None:
    """A prompt in two parts, then one token."""
    bundle = Bundle.open(small_bundle)
    settings = ClusterSettings(small_bundle, local_ranges=parse_ranges("0-31"), device="reference")
    cluster = connect(bundle, settings, row_type=RowType.FLOAT32)
    try:
        models = [
            load_model(bundle, cluster.dispatcher, RowType.FLOAT32, dense=DenseSettings(products, threads))
            for products, threads in (
                (DenseProducts.MLX, None),
                (DenseProducts.AUTO, 1),
                (DenseProducts.AUTO, 3),
            )
        ]
        expected, found, threaded = (_logits(model, form, bundle.config.layer_count) for model in models)
    finally:
        cluster.close()
    np.testing.assert_array_equal(threaded, found)
    if form.bits is None:  # else a last bit may move a key or value by a whole step
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def _logits(model: CoordinatorModel, form: KvForm, layers: int) -> np.ndarray:
    cache = BatchCache.empty(layers, form)
    parts = [mx.array([[5, 17, 90, 33, 2]]), mx.array([[4, 8, 15]]), mx.array([[16]])]
    return np.concatenate([np.array(model(part, cache=cache.layers)) for part in parts], axis=1)
