"""Which dense weights a coordinator unpacks, and that its answers stay the same."""

import logging
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_coordinator.assembly.connect import connect
from jangtq_coordinator.config import ClusterSettings
from jangtq_coordinator.model.dense_config import DenseForm, DenseSettings
from jangtq_coordinator.model.dense_weights import (
    MANY_ROWS,
    PackedLinear,
    count_unpacked,
    fast_products,
    prepare_dense,
)
from jangtq_coordinator.model.minimax import load_model
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.ranges import parse_ranges
from jangtq_proto.wire.row_type import RowType


@pytest.mark.parametrize(
    ("form", "fast", "free", "expected"),
    [
        (DenseForm.AUTO, True, 1000, 3),
        (DenseForm.AUTO, True, 599, 2),
        (DenseForm.AUTO, True, 199, 0),
        (DenseForm.AUTO, False, 1000, 0),
        (DenseForm.FLOAT32, False, 0, 3),
        (DenseForm.PACKED, True, 1000, 0),
    ],
)
def test_auto_unpacks_what_half_of_the_free_memory_holds(
    form: DenseForm, fast: bool, free: int, expected: int
) -> None:
    assert count_unpacked([100, 100, 100], form, fast=fast, free_bytes=free) == expected


def test_threads_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="--dense-threads 0"):
        DenseSettings(threads=0)


def packed_layers() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(64, 96, bias=True), nn.Linear(96, 32, bias=False))
    nn.quantize(model, group_size=32, bits=8)
    return model


def test_unpacked_layers_give_the_same_and_tell_their_size() -> None:
    model = packed_layers()
    x = mx.random.normal((5, 64), key=mx.random.key(1))
    before = np.array(model(x))
    report = prepare_dense(model, DenseSettings(DenseForm.FLOAT32), mx.float32)
    np.testing.assert_allclose(np.array(model(x)), before, rtol=1e-4, atol=1e-5)
    assert [type(layer) for layer in model.layers] == [nn.Linear, nn.Linear]
    assert (report.float32_bytes, report.packed_bytes) == (4 * (64 * 96 + 96 * 32), 0)


def test_packed_layers_stay_and_tell_their_size(caplog: pytest.LogCaptureFixture) -> None:
    model = packed_layers()
    with caplog.at_level(logging.INFO, "jangtq.dense"):
        report = prepare_dense(model, DenseSettings(DenseForm.PACKED), mx.float32)
    # Of every 32 numbers: 32 codes, a scale and a bias.
    assert (report.float32_bytes, report.packed_bytes) == (0, (32 + 8) * (2 * 96 + 3 * 32))
    assert f"products by {report.products}" in caplog.text


@pytest.mark.parametrize("rows", [1, MANY_ROWS - 1, MANY_ROWS, 40])
def test_packed_layers_copy_themselves_for_many_rows_and_give_the_same(rows: int) -> None:
    blas, model = fast_products(), packed_layers()
    x = mx.random.normal((rows, 64), key=mx.random.key(1))
    before = np.array(model(x))
    prepare_dense(model, DenseSettings(DenseForm.PACKED), mx.float32)
    kept = PackedLinear if blas else nn.QuantizedLinear
    assert [type(layer) for layer in model.layers] == [kept, kept]
    calls = blas.calls if blas else 0
    np.testing.assert_allclose(np.array(model(x)), before, rtol=1e-4, atol=1e-5)
    if blas:
        assert blas.calls - calls == (2 if rows >= MANY_ROWS else 0)


def test_auto_keeps_half_precision_models_packed() -> None:
    model = packed_layers()
    report = prepare_dense(model, DenseSettings(), mx.float16)
    assert (report.products, report.float32_bytes) == ("MLX", 0)


def test_logits_are_the_same_with_either_form(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    settings = ClusterSettings(small_bundle, local_ranges=parse_ranges("0-31"), device="reference")
    cluster = connect(bundle, settings, row_type=RowType.FLOAT32)
    tokens = mx.array([[5, 17, 90, 33, 2]])
    try:
        packed, unpacked = (
            load_model(bundle, cluster.dispatcher, RowType.FLOAT32, dense=DenseSettings(form))
            for form in (DenseForm.PACKED, DenseForm.FLOAT32)
        )
        np.testing.assert_allclose(np.array(packed(tokens)), np.array(unpacked(tokens)), rtol=1e-3, atol=1e-3)
    finally:
        cluster.close()
    assert (packed.dense.float32_bytes, unpacked.dense.packed_bytes) == (0, 0)
    assert unpacked.dense.float32_bytes > 0


def test_auto_unpacks_where_products_are_fast() -> None:
    model = packed_layers()
    report = prepare_dense(model, DenseSettings(), mx.float32)
    assert (report.float32_bytes > 0) == (fast_products() is not None)
