"""Hidden units beyond float16's 65,504: every backend and row type stays finite and equal to float64."""

import ml_dtypes
import numpy as np
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_kernels.reference import gate_up
from jangtq_kernels.rotation import rotate
from jangtq_kernels.weights import ExpertWeights
from tests.support.kernel_backends import (
    NAMES,
    backend,
    dense_forward,
    largest_error,
    relative_error,
    sums_of,
)
from tests.support.wide_bundles import WIDE_SIZES, write_wide_bundle

EXPERTS = (3, 4, 5, 6)
FLOAT16_MAX = 65_504
ROW_TYPES = (np.float32, np.float16, ml_dtypes.bfloat16)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> ExpertWeights:
    path = write_wide_bundle(tmp_path_factory.mktemp("wide") / "bundle", wide_sums=True)
    return Bundle.open(path).read_experts(0, EXPERTS)


@pytest.mark.parametrize("row_type", ROW_TYPES)
@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("name", NAMES)
def test_sums_are_those_of_float64(
    name: str, count: int, row_type: type[np.generic], weights: ExpertWeights
) -> None:
    random = np.random.default_rng(count)
    rows = random.standard_normal((count, WIDE_SIZES.hidden_size)).astype(row_type)
    ids = np.array([random.permutation(EXPERTS)[:2] for _ in range(count)], dtype=np.int32)
    shares = random.uniform(0.2, 0.8, ids.shape).astype(np.float32)
    rotated = rotate(rows.astype(np.float64), weights.gate.signs)
    units = [gate_up(weights, position, rotated) for position in range(len(EXPERTS))]
    assert np.abs(units).max() > FLOAT16_MAX
    expected = dense_forward(weights, (rows, ids, shares))
    assert np.abs(expected).max() > FLOAT16_MAX
    got = sums_of(backend(name).load(weights), rows, ids, shares)
    assert np.isfinite(got).all()
    assert relative_error(got, expected) <= largest_error(name)
