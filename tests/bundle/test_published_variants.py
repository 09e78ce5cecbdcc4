"""Bundles as published: every spelling of the metadata, both layouts, links of a cache and stray files.

The tensors are the reference converter's; only what surrounds them changes.
"""

import itertools
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.hashes import HASHES_FILE
from jangtq_bundle.vocabulary import AffineFormat, Layout, ProjectionBits
from jangtq_kernels.weights import ExpertWeights
from jangtq_proto.errors import BundleError
from tests.support.bundle_breaks import SIDECAR, config, jang
from tests.support.pairwise import Case, all_pairs
from tests.support.products import IS_WHOLE
from tests.support.reference_bundles import TinyVariant, pad_experts, remove_padding
from tests.support.small_bundles import SHARD, Tensors, edit_json, edit_tensors, store_matrix

ReferenceBundle = Callable[[TinyVariant], Path]
Members = dict[str, object]
Change = Callable[[Members], object]

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
)


def _set(**members: object) -> Change:
    return lambda target: target.update(members)


def _drop(*names: str) -> Change:
    return lambda target: [target.pop(name, None) for name in names]


K_BITS = {"gate_proj": 2, "up_proj": 2, "down_proj": 2}
IN_CONFIG: Mapping[str, Mapping[str, Change]] = {
    "config bits": {
        "map": _set(),
        "number": _set(mxtq_bits=2),
        "projections": _set(mxtq_bits={"routed_expert": K_BITS}),
        "two members": lambda c: (_drop("mxtq_bits")(c), c.update(mxtq_gate_up_bits=2, mxtq_down_bits=2)),
        "missing": _drop("mxtq_bits"),
        "wrong": _set(mxtq_bits=4),
    },
    "quantization": {
        "today's": _set(),
        "first converter's": _set(quantization={"group_size": 64, "bits": 2}),
        "with modules": _set(
            quantization={"group_size": 64, "bits": 8, "lm_head": {"bits": 4, "group_size": 32}}
        ),
        "other group": _set(quantization={"group_size": 128, "bits": 8}),
        "other mode": _set(quantization={"group_size": 32, "bits": 4, "mode": "mxfp4"}),
        "missing": _drop("quantization"),
    },
    "format in config": {
        "small": _set(weight_format="mxtq"),
        "capital": _set(weight_format="MXTQ"),
        "missing": _drop("weight_format"),
    },
    "shared size": {"zero": _set(), "missing": _drop("shared_intermediate_size")},
}
IN_JANG: Mapping[str, Mapping[str, Change]] = {
    "jang bits": {"map": _set(), "number": _set(mxtq_bits=2), "missing": _drop("mxtq_bits")},
    "profile": {
        "JANGTQ2": _set(profile="JANGTQ2"),
        "JANGTQ": _set(profile="JANGTQ"),
        "JANGTQ_2L": _set(profile="JANGTQ_2L"),
        "JANGTQ4": _set(profile="JANGTQ4"),
        "missing": _drop("profile"),
    },
    "version": {
        "2": _set(version=2),
        "text": _set(version="2.0"),
        "number": _set(version=2.0),
        "missing": _drop("version"),
    },
    "format": {"small": _set(), "capital": _set(weight_format="MXTQ"), "missing": _drop("weight_format")},
    "capabilities": {"there": _set(), "missing": _drop("capabilities")},
    "declared layout": {
        "none": _drop("routed_expert_layout"),
        "stacked": _set(routed_expert_layout="prestacked"),
    },
}
PLACES: Mapping[str, list[str]] = {
    "layout": ["stacked", "one by one"],
    "sidecar": ["with", "without"],
    "folder": ["plain", "hub", "hub, absolute links"],
    "strays": ["none", "macOS"],
    "jang_config.json": ["there", "missing"],
}
AXES: Mapping[str, list[str]] = {
    **{axis: list(values) for axis, values in {**IN_CONFIG, **IN_JANG}.items()},
    **PLACES,
}


def write_variant(case: Case, source: Path, folder: Path) -> Path:
    """A copy of `source` as `case` describes it."""
    files = folder if case["folder"] == "plain" else folder / "models--a--b" / "blobs"
    shutil.copytree(source, files, copy_function=os.link)
    for file, axes in (("config.json", IN_CONFIG), ("jang_config.json", IN_JANG)):
        members = json.loads((files / file).read_text())
        for axis, changes in axes.items():
            changes[case[axis]](members)
        (files / file).unlink()
        (files / file).write_text(json.dumps(members))
    if case["sidecar"] == "without":
        (files / SIDECAR).unlink(missing_ok=True)
    if case["jang_config.json"] == "missing":
        (files / "jang_config.json").unlink()
    root = files if case["folder"] == "plain" else _snapshot(files, absolute="absolute" in case["folder"])
    if case["strays"] == "macOS":
        for name in (f"._{SHARD}", "._config.json", "._jang_config.json", ".DS_Store", "._tokenizer.json"):
            (root / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    return root


def _snapshot(blobs: Path, *, absolute: bool) -> Path:
    """The links that a hub cache has, to blobs named by their hashes."""
    snapshot = blobs.parent / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(blobs.iterdir())):
        blob = file.rename(blobs / f"{number:040x}")
        (snapshot / file.name).symlink_to(blob if absolute else Path("../../blobs") / blob.name)
    return snapshot


def source_of(case: Case, reference_bundle: ReferenceBundle) -> Path:
    return reference_bundle(TinyVariant.STACKED if case["layout"] == "stacked" else TinyVariant.ONE_BY_ONE)


def check_variant(case: Case, reference_bundle: ReferenceBundle, folder: Path) -> None:
    source = source_of(case, reference_bundle)
    opened, original = Bundle.open(write_variant(case, source, folder)), Bundle.open(source)
    assert (opened.config.affine, opened.config.matrix_formats) == (AffineFormat(8, 64), {})
    assert (opened.config.bits, opened.config.profile) == (ProjectionBits(2, 2, 2), "JANGTQ2")
    assert opened.config == original.config
    check_equal(opened.read_experts(0, (31, 0)), original.read_experts(0, (31, 0)))


def check_equal(left: ExpertWeights, right: ExpertWeights) -> None:
    for one, other in ((left.gate, right.gate), (left.up, right.up), (left.down, right.down)):
        np.testing.assert_array_equal(one.codes, other.codes)
        np.testing.assert_array_equal(one.norms, other.norms)


def chosen_cases() -> list[list[Case]]:
    """Every pair of spellings; or else every combination of what decides formats, and the rest in turn."""
    if not IS_WHOLE:
        return [[case] for case in all_pairs(AXES)]
    product = ("layout", "folder", "config bits", "quantization", "jang bits", "profile", "jang_config.json")
    others = {axis: itertools.cycle(values) for axis, values in AXES.items() if axis not in product}
    cases = [
        {axis: next(turn) for axis, turn in others.items()} | dict(zip(product, values, strict=True))
        for values in itertools.product(*(AXES[axis] for axis in product))
    ]
    return [cases[start::64] for start in range(64)]


CASES = chosen_cases()


@pytest.mark.parametrize("part", range(len(CASES)))
def test_all_spellings_open_alike(part: int, reference_bundle: ReferenceBundle, tmp_path: Path) -> None:
    for number, case in enumerate(CASES[part]):
        check_variant(case, reference_bundle, tmp_path / str(number))
        shutil.rmtree(tmp_path / str(number))


def copy_of(variant: TinyVariant, reference_bundle: ReferenceBundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reference_bundle(variant), tmp_path / "copy"))


def test_one_line_says_what_was_corrected(
    reference_bundle: ReferenceBundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = copy_of(TinyVariant.STACKED, reference_bundle, tmp_path)
    with caplog.at_level(logging.INFO, "jangtq.bundle"):
        Bundle.open(path)
    assert not caplog.messages
    config(mxtq_bits=4, quantization={"bits": 2, "group_size": 64, "lm_head": {"bits": 4, "group_size": 64}})(
        path
    )
    jang(routed_expert_layout="per_expert", profile="JANGTQ_4M")(path)
    with caplog.at_level(logging.INFO, "jangtq.bundle"):
        Bundle.open(path)
    [line] = caplog.messages
    for told in (
        "config.json: mxtq_bits is 4, the experts have 2 bits",
        "jang_config.json: profile is 'JANGTQ_4M', the experts have 2 bits",
        "'bits': 2, 'group_size': 64}, the matrices have 8 bits in groups of 64",
        "quantization: lm_head is {'bits': 4, 'group_size': 64}, it has 8 bits in groups of 64",
        "routed_expert_layout is 'per_expert', the tensors are prestacked",
    ):
        assert told in line


def test_the_pad_tools_output(reference_bundle: ReferenceBundle, tmp_path: Path) -> None:
    path = copy_of(TinyVariant.PADDED, reference_bundle, tmp_path)
    converted = Bundle.open(path)
    remove_padding(path)
    assert Bundle.open(path).config.expert_count == 34
    pad_experts(path)
    assert json.loads((path / "config.json").read_text())["mxtq_bits"] == 2
    padded = Bundle.open(path)
    assert (padded.config.expert_count, padded.config.original_expert_count) == (64, 34)
    assert padded.config == converted.config
    check_equal(padded.read_experts(0, (63, 33)), converted.read_experts(0, (63, 33)))


@pytest.mark.parametrize(
    "declared", [2, {"routed_expert": 2}, {"routed_expert": {"down_proj": 3}}, "2", None]
)
def test_bits_of_each_projection_come_from_the_tensors(
    declared: object, reference_bundle: ReferenceBundle, tmp_path: Path
) -> None:
    path = copy_of(TinyVariant.K, reference_bundle, tmp_path)
    assert Bundle.open(path).layout is Layout.ONE_BY_ONE
    config(mxtq_bits=declared)(path)
    jang(mxtq_bits=declared, profile="JANGTQ")(path)
    found = Bundle.open(path).config
    assert (found.bits, found.profile) == (ProjectionBits(gate=2, up=2, down=4), "JANGTQ_K")


MATRICES = ("model.embed_tokens", "lm_head", "model.layers.0.self_attn.o_proj")


@pytest.fixture
def bare_copy(bundle_copy: Path) -> Path:
    """As converters write it: without our hashes."""
    (bundle_copy / HASHES_FILE).unlink()
    return bundle_copy


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("group_size", [32, 64])
def test_each_matrix_may_have_a_form_of_its_own(bits: int, group_size: int, bare_copy: Path) -> None:
    form = AffineFormat(bits, group_size)
    store_matrix(bare_copy, MATRICES[0], form)
    store_matrix(bare_copy, MATRICES[2], None)
    found = Bundle.open(bare_copy).config
    assert found.affine == AffineFormat(8, 64)
    assert [found.matrix_format(name) for name in MATRICES] == [form, AffineFormat(8, 64), None]


def test_shapes_that_no_form_has(bare_copy: Path) -> None:
    name = "lm_head.weight"
    edit_tensors(bare_copy, lambda tensors: tensors.update({name: tensors[name][:, :7].copy()}))
    with pytest.raises(BundleError) as caught:
        Bundle.open(bare_copy)
    for told in (SHARD, repr(name), "shape is [263, 7]", "rows of 64 values", "2, 3, 4, 5, 6 or 8 bits"):
        assert told in str(caught.value)


def test_what_no_layer_reads_is_left_out(bare_copy: Path) -> None:
    extra: Tensors = {
        "model.mtp.0.norm.weight": np.ones(4, np.float16),
        "model.rotary_emb.inv_freq": np.ones(4),
    }
    before = Bundle.open(bare_copy).config
    edit_tensors(bare_copy, lambda tensors: tensors.update(extra))
    assert Bundle.open(bare_copy).config == before


def test_a_model_without_packed_experts(bare_copy: Path) -> None:
    edit_tensors(bare_copy, lambda t: [t.pop(name) for name in list(t) if ".tq_" in name])
    with pytest.raises(BundleError, match=r"no tensor ends with \.tq_packed, expected experts in JANGTQ"):
        Bundle.open(bare_copy)


@pytest.mark.parametrize("name", ["config.json", "jang_config.json", SHARD, SIDECAR])
def test_pointers_are_not_downloaded(name: str, bundle_copy: Path) -> None:
    (bundle_copy / name).write_bytes(POINTER)
    with pytest.raises(BundleError, match=rf"{name} is not downloaded: it is a Git LFS pointer"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_pointers_of_the_tokenizer(name: str, bundle_copy: Path) -> None:
    (bundle_copy / name).write_bytes(POINTER)
    opened = Bundle.open(bundle_copy)  # a worker needs no tokenizer
    with pytest.raises(BundleError, match=rf"{name} is not downloaded"):
        opened.check_tokenizer()


def test_links_to_blobs_that_are_not_there(reference_bundle: ReferenceBundle, tmp_path: Path) -> None:
    case = {axis: values[0] for axis, values in AXES.items()} | {"folder": "hub"}
    root = write_variant(case, reference_bundle(TinyVariant.STACKED), tmp_path / "bundle")
    (root / "model-00001-of-00001.safetensors").resolve().unlink()
    with pytest.raises(BundleError, match="leads nowhere: its content is not downloaded"):
        Bundle.open(root)


def test_one_edit_leaves_the_others_alone(bundle_copy: Path) -> None:
    edit_json(bundle_copy / "config.json", lambda members: members.update(eos_token_id=[258, 1]))
    assert Bundle.open(bundle_copy).config.end_tokens == (258, 1)
