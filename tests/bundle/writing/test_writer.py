"""Bundles that we write equal those of the reference converter, and its own checks accept them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jang_tools.capabilities import verify_directory
from jang_tools.verify_jangtq_prestacked import verify
from numpy.typing import NDArray
from safetensors.numpy import load_file

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.json_files import read_json_object
from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.vocabulary import Layout
from jangtq_bundle.writing.writer import write_bundle
from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.packing import unpack
from jangtq_kernels.rotation import generate_signs, rotate
from jangtq_proto.errors import BundleError, ConfigurationError
from tests.support.reference_bundles import (
    PROFILES,
    SIZES,
    STACKED_FROM,
    Variant,
    dequantized_checkpoint,
    stack_experts,
)
from tests.support.small_bundles import SMALL, dense_model

Stored = Mapping[str, NDArray[np.generic]]
Floats = NDArray[np.float64]
Codes = NDArray[np.uint8]
FLOAT32_ROUNDING = 1e-6

ReferenceBundle = Callable[[Variant], Path]


def options_of(variant: Variant) -> WriteOptions:
    layout = Layout.ONE_BY_ONE if variant in STACKED_FROM.values() else Layout.PRESTACKED
    return WriteOptions("MiniMax-M2.7", profile=PROFILES[variant], layout=layout)


@pytest.mark.parametrize("variant", list(Variant))
def test_equals_the_reference(variant: Variant, reference_bundle: ReferenceBundle, tmp_path: Path) -> None:
    """Bit for bit, save where float32 sums in another order fall on the other side of a rounding boundary."""
    ours, theirs = tmp_path / "ours", reference_bundle(variant)
    model = dense_model(SIZES[variant], seed=7)
    write_bundle(ours, model, options_of(variant))
    written, expected = load_all(ours), load_all(theirs)
    assert {name: (t.dtype, t.shape) for name, t in written.items()} == {
        name: (t.dtype, t.shape) for name, t in expected.items()
    }
    for name, tensor in expected.items():
        if "tq_packed" not in name and "tq_norms" not in name:
            np.testing.assert_array_equal(written[name], tensor, err_msg=name)
    count = Bundle.open(ours).config.expert_count
    ours_stacked, theirs_stacked = stack_experts(written, count), stack_experts(expected, count)
    for name, weights in model.tensors.items():
        if ".switch_mlp." in name:
            check_matrices(weights, ours_stacked, theirs_stacked, base=name.removesuffix(".weight"))


def check_matrices(weights: NDArray[np.floating], written: Stored, expected: Stored, *, base: str) -> None:
    count, _, in_features = weights.shape
    bits = int(expected[f"{base}.tq_bits"][0])
    norms, reference_norms = (stored[f"{base}.tq_norms"].astype(np.float64) for stored in (written, expected))
    codes, reference_codes = (
        unpack(stored[f"{base}.tq_packed"].view(np.uint32), bits, in_features)
        for stored in (written, expected)
    )
    assert not norms[count:].any() and not codes[count:].any()
    rows = np.nonzero((norms != reference_norms) | (codes != reference_codes).any(axis=-1))
    exact = rotate(weights[rows].astype(np.float64), generate_signs(in_features, 42))
    exact_norms = np.linalg.norm(exact, axis=-1)
    check_norms(norms[rows], reference_norms[rows], exact_norms)
    midpoints = compute_midpoints(in_features, bits)
    check_codes(codes[rows], reference_codes[rows], exact / exact_norms[:, None], midpoints=midpoints)


def check_norms(norms: Floats, reference_norms: Floats, exact: Floats) -> None:
    different = norms != reference_norms
    boundaries = (norms + reference_norms)[different] / 2
    np.testing.assert_allclose(exact[different], boundaries, rtol=FLOAT32_ROUNDING)


def check_codes(codes: Codes, reference_codes: Codes, exact: Floats, *, midpoints: Floats) -> None:
    different = np.nonzero(codes != reference_codes)
    lower, upper = (pick(codes, reference_codes)[different] for pick in (np.minimum, np.maximum))
    np.testing.assert_array_equal(upper, lower + 1)
    np.testing.assert_allclose(exact[different], midpoints[lower], rtol=0, atol=FLOAT32_ROUNDING)


def compute_midpoints(in_features: int, bits: int) -> Floats:
    codebook = compute_codebook(in_features, bits).astype(np.float64)
    return (codebook[:-1] + codebook[1:]) / 2


def load_all(bundle: Path) -> dict[str, NDArray[np.generic]]:
    tensors: dict[str, NDArray[np.generic]] = {}
    for file in sorted(bundle.glob("model*.safetensors")):
        tensors |= load_file(file)
    return tensors


@pytest.mark.parametrize("variant", [Variant.JANGTQ_K, Variant.JANGTQ4])
def test_configuration_equals_the_reference(
    variant: Variant, reference_bundle: ReferenceBundle, tmp_path: Path
) -> None:
    theirs, sizes = reference_bundle(variant), replace(SIZES[variant], expert_count=32)
    write_bundle(tmp_path / "ours", dense_model(sizes), options_of(variant))
    for file in ("config.json", "jang_config.json"):
        ours, expected = (dict(read_json_object(path / file, file)) for path in (tmp_path / "ours", theirs))
        for members in (ours, expected):
            members.pop("source_model", None)
            members.pop("num_local_experts", None)
        assert ours == expected


def test_sidecar_equals_the_reference(reference_bundle: ReferenceBundle, tmp_path: Path) -> None:
    write_bundle(tmp_path / "ours", dense_model(SIZES[Variant.JANGTQ4]), options_of(Variant.JANGTQ4))
    ours, theirs = (
        load_file(path / "jangtq_runtime.safetensors")
        for path in (tmp_path / "ours", reference_bundle(Variant.JANGTQ4))
    )
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.parametrize("profile", ["JANGTQ2", "JANGTQ3", "JANGTQ_K"])
def test_reference_checks_accept_our_bundles(profile: str, tmp_path: Path) -> None:
    write_bundle(tmp_path / "ours", dense_model(), WriteOptions("small", profile=profile))
    accepted, message = verify_directory(tmp_path / "ours")
    assert accepted, message
    report = verify(tmp_path / "ours")
    assert (report.prestack_triplets, report.warnings) == (3, [])


def test_mixed_bits_can_be_padded(tmp_path: Path) -> None:
    """The reference cannot: it divides by the name of the profile."""
    options = WriteOptions("small", profile="JANGTQ_K")
    write_bundle(tmp_path / "ours", dense_model(replace(SMALL, expert_count=30)), options)
    bundle = Bundle.open(tmp_path / "ours")
    assert (bundle.config.original_expert_count, bundle.config.expert_count) == (30, 32)
    padding = bundle.read_experts(0, (30, 31))
    for matrix in (padding.gate, padding.up, padding.down):
        assert not matrix.codes.any() and not matrix.norms.any()
    dense = dequantized_checkpoint(tmp_path / "ours")
    bias = dense["model.layers.0.block_sparse_moe.e_score_correction_bias"]
    assert (bias[30:] == -10000).all() and (np.abs(bias[:30]) < 1).all()
    assert not dense["model.layers.0.block_sparse_moe.gate.weight"][30:].any()


@pytest.mark.parametrize("profile", ["JANGTQ2", "JANGTQ3", "JANGTQ4"])
def test_weights_survive_as_well_as_their_bits_allow(profile: str, tmp_path: Path) -> None:
    """Lloyd-Max distortion of a normal variable: 0.1175, 0.0345 and 0.0095 at 2, 3 and 4 bits (Max, 1960)."""
    distortion = {"JANGTQ2": 0.1175, "JANGTQ3": 0.0345, "JANGTQ4": 0.0095}[profile]
    model = dense_model()
    write_bundle(tmp_path / "ours", model, WriteOptions("small", profile=profile))
    dense = dequantized_checkpoint(tmp_path / "ours")
    for projection in ("gate_proj", "up_proj", "down_proj"):
        name = f"model.layers.0.block_sparse_moe.switch_mlp.{projection}.weight"
        original = model.tensors[name].astype(np.float32)
        error = np.square(dense[name] - original).sum() / np.square(original).sum()
        assert error == pytest.approx(distortion, rel=0.15)


def test_shared_expert_tied_head_and_no_qk_norm(tmp_path: Path) -> None:
    model = dense_model()
    moe, rng = "model.layers.0.block_sparse_moe", np.random.default_rng(0)
    shapes = {"gate_proj": (128, 64), "up_proj": (128, 64), "down_proj": (64, 128)}
    tensors = {name: t for name, t in model.tensors.items() if "q_norm" not in name and "k_norm" not in name}
    tensors.pop("lm_head.weight")
    for name, shape in shapes.items():
        tensors[f"{moe}.shared_experts.{name}.weight"] = rng.standard_normal(shape).astype(np.float32)
    changes = {"shared_intermediate_size": 128, "tie_word_embeddings": True, "use_qk_norm": False}
    changed = replace(model, config={**model.config, **changes}, tensors=tensors)
    write_bundle(tmp_path / "ours", changed, WriteOptions("small"))
    bundle = Bundle.open(tmp_path / "ours")
    assert bundle.config.shared_intermediate_size == 128
    assert bundle.config.ties_embeddings and not bundle.config.attention.uses_qk_norm
    names = {record.name for record in bundle.dense_tensors()}
    assert f"{moe}.shared_experts.down_proj.scales" in names and "lm_head.weight" not in names


def test_many_small_shards(tmp_path: Path) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    write_bundle(one, dense_model(), WriteOptions("small"))
    write_bundle(many, dense_model(), WriteOptions("small", shard_bytes=20_000))
    assert len(Bundle.open(many).inventory.shards) > 3
    expected, found = load_all(one), load_all(many)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_a_model_that_lacks_a_tensor_is_not_written(tmp_path: Path) -> None:
    model = dense_model()
    tensors = {name: t for name, t in model.tensors.items() if name != "model.norm.weight"}
    with pytest.raises(BundleError, match=r"'model\.norm\.weight' missing"):
        write_bundle(tmp_path / "ours", replace(model, tensors=tensors), WriteOptions("small"))
    assert list(tmp_path.iterdir()) == []


def test_a_taken_path_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(ConfigurationError, match="already there"):
            write_bundle(path, dense_model(), WriteOptions("small"))
    assert (tmp_path / "file").read_text() == "mine"


def test_unknown_options() -> None:
    with pytest.raises(ConfigurationError, match="profile 'JANGTQ5': allowed are JANGTQ2"):
        WriteOptions("small", profile="JANGTQ5")
    with pytest.raises(ConfigurationError, match="shard_bytes 0"):
        WriteOptions("small", shard_bytes=0)
