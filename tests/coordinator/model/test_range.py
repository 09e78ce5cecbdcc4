"""A whole model whose experts have hidden units beyond float16: finite, or an error that says what to do."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.loading import load_layers
from jangtq_coordinator.model.minimax import CoordinatorModel, default_row_type, load_model
from jangtq_coordinator.transport.local_experts import LocalConnection
from jangtq_kernels.backends import open_backend
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.wire.codec import CallShape
from jangtq_proto.wire.row_type import RowType
from tests.support.fixed_cluster import fixed_dispatcher
from tests.support.wide_bundles import WIDE_SIZES, write_wide_bundle

PROMPT = mx.array([[1, 2, 3, 70, 80]])


def model_over(path: Path, row_type: RowType, device: str = "reference") -> CoordinatorModel:
    bundle = Bundle.open(path)
    experts = tuple(range(WIDE_SIZES.expert_count))
    layers = load_layers(bundle, open_backend(device), experts)
    connection = LocalConnection(lambda: layers, CallShape(1, WIDE_SIZES.hidden_size))
    owner = [0] * WIDE_SIZES.expert_count
    model = load_model(bundle, fixed_dispatcher(owner, [connection], row_type=row_type), row_type)
    # Of experts that score alike, rounding may pick others: here it has no choice.
    picked = [10.0] * model.args.num_experts_per_tok
    bias = mx.array(picked + [0.0] * (WIDE_SIZES.expert_count - len(picked)))
    model.layers[0].block_sparse_moe.e_score_correction_bias = bias
    return model


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """By whether the sums are beyond float16, too."""
    root = tmp_path_factory.mktemp("wide")
    return {wide: write_wide_bundle(root / str(wide), wide_sums=wide) for wide in (True, False)}


def logits(model: CoordinatorModel) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(model(PROMPT).astype(mx.float32))


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("row_type", [RowType.FLOAT32, RowType.BFLOAT16])
@pytest.mark.parametrize("wide", [True, False])
def test_wide_types_hold_units_and_sums(
    wide: bool, row_type: RowType, device: str, bundles: dict[bool, Path]
) -> None:
    exact = logits(model_over(bundles[wide], RowType.FLOAT32))
    found = logits(model_over(bundles[wide], row_type, device))
    assert np.isfinite(found).all()
    tolerance = 1e-3 if row_type is RowType.FLOAT32 else 5e-2
    assert np.linalg.norm(found - exact) <= tolerance * np.linalg.norm(exact)


def test_float16_holds_units_but_not_sums(bundles: dict[bool, Path]) -> None:
    exact = logits(model_over(bundles[False], RowType.FLOAT32))
    found = logits(model_over(bundles[False], RowType.FLOAT16))
    assert np.linalg.norm(found - exact) <= 1e-2 * np.linalg.norm(exact)
    with pytest.raises(ConfigurationError, match=r"layer 0: the experts' sums reach .*--wire-dtype bfloat16"):
        logits(model_over(bundles[True], RowType.FLOAT16))


def test_gpus_do_not_compute_in_float16_unless_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_row_type() is RowType.FLOAT32
    for gpu in ("metal", "cuda"):
        with monkeypatch.context() as patch:
            patch.setattr(f"mlx.core.{gpu}.is_available", lambda: True)
            assert default_row_type() is RowType.BFLOAT16
