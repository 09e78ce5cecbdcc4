"""Opening bundles of the reference converter and reading chosen experts out of them."""

import json
import shutil
from collections.abc import Callable
from enum import StrEnum
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.directory import Directory
from jangtq_bundle.experts import Extent, merge_neighbours
from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.shards import read_shard
from jangtq_bundle.tensors import read_into
from jangtq_bundle.vocabulary import PROFILE_BITS, Layout
from jangtq_bundle.writing.writer import write_bundle
from jangtq_kernels.weights import PackedMatrix
from jangtq_proto.errors import BundleError
from tests.support.products import part
from tests.support.reference_bundles import PROFILES, SIZES, STACKED_FROM, Variant
from tests.support.small_bundles import SHARD, dense_model, edit_json, edit_tensors, write_header

ReferenceBundle = Callable[[StrEnum], Path]
EXPERTS = (30, 3, 4, 5, 0, 31)


@pytest.mark.parametrize("variant", list(Variant))
def test_configuration_of_a_reference_bundle(variant: Variant, reference_bundle: ReferenceBundle) -> None:
    config, sizes = Bundle.open(reference_bundle(variant)).config, SIZES[variant]
    assert (config.hidden_size, config.intermediate_size) == (sizes.hidden_size, sizes.intermediate_size)
    assert config.layer_count == sizes.layer_count
    assert config.original_expert_count == sizes.expert_count
    assert config.expert_count == (part(64, whole=160) if variant is Variant.PADDED else sizes.expert_count)
    assert config.experts_per_token == 8
    assert (config.profile, config.bits) == (PROFILES[variant], PROFILE_BITS[PROFILES[variant]])
    assert config.seed == 42
    assert config.attention.query_size == sizes.head_count * sizes.head_size
    assert config.attention.uses_qk_norm and not config.ties_embeddings


@pytest.mark.parametrize("variant", list(Variant))
def test_experts_are_the_tensors_of_the_file(variant: Variant, reference_bundle: ReferenceBundle) -> None:
    bundle = Bundle.open(reference_bundle(variant))
    tensors = load_file(bundle.inventory.shards[0].path)
    weights = bundle.read_experts(1, EXPERTS)
    assert weights.expert_ids == EXPERTS
    assert weights.nbytes == len(EXPERTS) * bundle.expert_nbytes
    for names, matrix in (("gate_proj w1", weights.gate), ("up_proj w3", weights.up)):
        assert matrix.in_features == bundle.config.hidden_size
        check_matrix(matrix, tensors, names.split())
    assert weights.down.in_features == bundle.config.intermediate_size
    check_matrix(weights.down, tensors, ["down_proj", "w2"])


def check_matrix(matrix: PackedMatrix, tensors: dict[str, NDArray[np.generic]], names: list[str]) -> None:
    moe = "model.layers.1.block_sparse_moe"
    for position, expert in enumerate(EXPERTS):
        for kind, found in (("tq_packed", matrix.codes), ("tq_norms", matrix.norms)):
            single = tensors.get(f"{moe}.experts.{expert}.{names[1]}.{kind}")
            if single is None:
                single = tensors[f"{moe}.switch_mlp.{names[0]}.{kind}"][expert]
            np.testing.assert_array_equal(found[position], single)


@pytest.mark.parametrize("variant", [Variant.JANGTQ2, Variant.JANGTQ_K])
def test_both_layouts_give_equal_weights(variant: Variant, reference_bundle: ReferenceBundle) -> None:
    stacked = Bundle.open(reference_bundle(variant))
    single = Bundle.open(reference_bundle(STACKED_FROM[variant]))
    assert (stacked.layout, single.layout) == (Layout.PRESTACKED, Layout.ONE_BY_ONE)
    assert stacked.fingerprint != single.fingerprint
    left, right = (bundle.read_experts(0, (63, 7)) for bundle in (stacked, single))
    for one, other in ((left.gate, right.gate), (left.up, right.up), (left.down, right.down)):
        np.testing.assert_array_equal(one.codes, other.codes)
        np.testing.assert_array_equal(one.norms, other.norms)
        np.testing.assert_array_equal(one.codebook, other.codebook)
        np.testing.assert_array_equal(one.signs, other.signs)


@pytest.mark.parametrize("layout", list(Layout))
def test_only_the_bytes_of_the_experts_are_read(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "bundle", dense_model(), WriteOptions("small", layout=layout))
    bundle = Bundle.open(tmp_path / "bundle")
    reads: list[int] = []

    def spy(file: FileIO, target: NDArray[np.generic], *, offset: int) -> None:
        reads.append(target.nbytes)
        read_into(file, target, offset=offset)

    monkeypatch.setattr("jangtq_bundle.experts.read_into", spy)
    bundle.read_experts(0, tuple(range(8, 16)))
    assert sum(reads) == 8 * bundle.expert_nbytes
    if layout is Layout.PRESTACKED:
        assert len(reads) == 6


@given(st.lists(st.integers(0, 9), unique=True), st.integers(1, 3))
def test_merged_extents_cover_the_same_bytes(ids: list[int], nbytes: int) -> None:
    extents = [Extent(Path("a"), expert * nbytes, nbytes) for expert in ids]
    merged = list(merge_neighbours(extents))
    assert sum(extent.count for extent in merged) == len(ids)
    assert [byte for e in merged for byte in range(e.offset, e.end)] == [
        byte for e in extents for byte in range(e.offset, e.end)
    ]
    assert all(left.end != right.offset for left, right in zip(merged, merged[1:], strict=False))


def test_extents_of_two_files_are_not_merged() -> None:
    extents = [Extent(Path("a"), 0, 4), Extent(Path("b"), 4, 4)]
    assert list(merge_neighbours(extents)) == extents


def test_dense_tensors_leave_out_the_experts(small_bundle: Path) -> None:
    names = [record.name for record in Bundle.open(small_bundle).dense_tensors()]
    assert "lm_head.scales" in names and "model.layers.0.block_sparse_moe.gate.weight" in names
    assert not [name for name in names if "tq_" in name]
    assert len(names) == 3 + 3 + 1 + 4 * 3 + 2 + 4


def test_single_file_without_an_index(bundle_copy: Path) -> None:
    (bundle_copy / "model.safetensors.index.json").unlink()
    (bundle_copy / SHARD).rename(bundle_copy / "model.safetensors")
    assert Bundle.open(bundle_copy).read_experts(0, (31,)).nbytes == Bundle.open(bundle_copy).expert_nbytes


def test_tables_are_computed_where_the_sidecar_is_missing(small_bundle: Path, bundle_copy: Path) -> None:
    (bundle_copy / "jangtq_runtime.safetensors").unlink()
    with_sidecar, without = (Bundle.open(p).read_experts(0, (0,)) for p in (small_bundle, bundle_copy))
    np.testing.assert_array_equal(with_sidecar.gate.codebook, without.gate.codebook)
    np.testing.assert_array_equal(with_sidecar.down.signs, without.down.signs)


def test_older_profile_names(bundle_copy: Path) -> None:
    edit_json(bundle_copy / "jang_config.json", lambda config: config.update(profile="JANGTQ_2L"))
    assert Bundle.open(bundle_copy).config.profile == "JANGTQ2"


def test_links_of_a_hugging_face_cache(small_bundle: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "main", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(small_bundle, blobs)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    assert Bundle.open(snapshot).fingerprint == Bundle.open(small_bundle).fingerprint


class TestFingerprint:
    def test_is_independent_of_path_and_form(self, small_bundle: Path, bundle_copy: Path) -> None:
        config = json.loads((bundle_copy / "config.json").read_text())
        (bundle_copy / "config.json").write_text(json.dumps(dict(reversed(config.items()))))
        assert Bundle.open(bundle_copy).fingerprint == Bundle.open(small_bundle).fingerprint

    def test_changes_with_the_configuration(self, small_bundle: Path, bundle_copy: Path) -> None:
        edit_json(bundle_copy / "config.json", lambda config: config.update(rope_theta=10_000))
        assert Bundle.open(bundle_copy).fingerprint != Bundle.open(small_bundle).fingerprint

    def test_changes_with_the_headers(self, small_bundle: Path, bundle_copy: Path) -> None:
        norm = "model.norm.weight"
        edit_tensors(bundle_copy, lambda tensors: tensors.update({norm: tensors[norm].astype(np.float32)}))
        assert Bundle.open(bundle_copy).fingerprint != Bundle.open(small_bundle).fingerprint

    def test_changes_with_the_weights(self, small_bundle: Path, tmp_path: Path) -> None:
        write_bundle(tmp_path / "bundle", dense_model(seed=4), WriteOptions("small"))
        assert Bundle.open(tmp_path / "bundle").fingerprint != Bundle.open(small_bundle).fingerprint


HEADER_PIECES = st.sampled_from(
    b'{"a": {"dtype": "U8" , "shape": [1] , "data_offsets": [0,1] } } [ "b": 9 null'.split()
)


@given(st.one_of(st.binary(max_size=64), st.lists(HEADER_PIECES, max_size=10).map(b"".join)))
def test_any_header_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, header: bytes) -> None:
    directory: Path = tmp_path_factory.mktemp("header", numbered=True)
    write_header(directory / "model.safetensors", header, b"x")
    try:
        shard = read_shard(Directory.open(directory), "model.safetensors")
    except BundleError as error:
        assert str(error).startswith("model.safetensors: ")
    else:
        assert sum(record.nbytes for record in shard.tensors) == 1
