"""Each broken bundle gets one error that names file, tensor, found and expected."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.vocabulary import Layout
from jangtq_bundle.writing.writer import write_bundle
from jangtq_proto.errors import BundleError
from tests.support.bundle_breaks import (
    INDEX,
    SIDECAR,
    Break,
    both,
    cut,
    header,
    remove,
    replace,
    sidecar,
    tensors,
    weight_map,
    without,
)
from tests.support.small_bundles import SHARD, dense_model, edit_tensors, write_header

NORM = "model.layers.0.input_layernorm.weight"
CODES = "model.layers.0.block_sparse_moe.switch_mlp.gate_proj.tq_packed"
NORMS = "model.layers.0.block_sparse_moe.switch_mlp.gate_proj.tq_norms"
BITS = "model.layers.0.block_sparse_moe.switch_mlp.gate_proj.tq_bits"

WEIGHTS: dict[str, tuple[Break, list[str]]] = {
    "no shard": (remove(SHARD), [SHARD, "is missing"]),
    "no weights": (both(remove(SHARD), remove(INDEX)), ["neither", INDEX, "model*.safetensors"]),
    "stray shard": (
        replace("model-00002-of-00002.safetensors", b""),
        ["-00002", "not named by"],
    ),
    "truncated data": (cut(SHARD, 1), [SHARD, "truncated", "ends at byte"]),
    "truncated header": (
        lambda path: os.truncate(path / SHARD, 100),
        [SHARD, "truncated", "the header takes"],
    ),
    "empty shard": (replace(SHARD, b""), [SHARD, "truncated"]),
    "huge header": (replace(SHARD, b"\xff" * 7 + b"\x7f{}"), [SHARD, "truncated", "the file has 10"]),
    "header bomb": (
        lambda path: write_sparse(path / SHARD, (150 << 20).to_bytes(8, "little"), size=160 << 20),
        [SHARD, "a header of 157286400 bytes, at most 100000000"],
    ),
    "garbage header": (replace(SHARD, (2).to_bytes(8, "little") + b"[]"), [SHARD, "header", "an object"]),
    "bytes after": (
        lambda path: (path / SHARD).write_bytes((path / SHARD).read_bytes() + b"x"),
        [SHARD, "from the header"],
    ),
    "missing tensor": (tensors(lambda t: t.pop(NORM)), [NORM, "missing", "[64] of F16"]),
    "missing codes": (tensors(lambda t: t.pop(CODES)), [CODES, "missing", "[32, 32, 4] of U32"]),
    "missing norms": (tensors(lambda t: t.pop(NORMS)), [NORMS, "missing", "[32, 32] of F16"]),
    "dtype of codes": (
        tensors(lambda t: t.update({CODES: t[CODES].view(np.int32)})),
        [SHARD, CODES, "dtype is I32, expected U32"],
    ),
    "dtype of norms": (
        tensors(lambda t: t.update({NORMS: t[NORMS].astype(np.float32)})),
        [SHARD, NORMS, "dtype is F32, expected F16"],
    ),
    "dtype of a norm": (
        tensors(lambda t: t.update({NORM: t[NORM].astype(np.float64)})),
        [SHARD, NORM, "dtype is F64, expected F16 or BF16 or F32"],
    ),
    "shape": (
        tensors(lambda t: t.update({CODES: t[CODES][:, :, :2].copy()})),
        [SHARD, CODES, "shape is [32, 32, 2], expected [32, 32, 4]"],
    ),
    "too few experts": (
        tensors(lambda t: t.update({NORMS: t[NORMS][:31].copy()})),
        [SHARD, NORMS, "shape is [31, 32], expected [32, 32]"],
    ),
    "bits": (
        tensors(lambda t: t.update({BITS: np.array([4], dtype=np.uint8)})),
        [SHARD, BITS, "4 bits, expected 2"],
    ),
    "extra tensor": (
        tensors(lambda t: t.update({"model.extra": np.zeros(1, np.float16)})),
        [SHARD, "'model.extra'", "does not belong to this model"],
    ),
    "two layouts": (
        tensors(
            lambda t: t.update(
                {"model.layers.0.block_sparse_moe.experts.0.w1.tq_bits": np.array([2], np.uint8)}
            )
        ),
        ["two layouts"],
    ),
    "index too long": (weight_map(lambda m: m.update({"x": SHARD})), [SHARD, "'x'", "no file has it"]),
    "index too short": (weight_map(lambda m: m.pop(NORM)), [SHARD, NORM, "not named by"]),
    "no weight map": (without(INDEX, "weight_map"), [INDEX, "weight_map is missing"]),
    "index of numbers": (weight_map(lambda m: m.update({NORM: 1})), [INDEX, NORM, "a string"]),
    "path upwards": (
        weight_map(lambda m: m.update({NORM: "../x.safetensors"})),
        ["'../x.safetensors'"],
    ),
    "absolute path": (weight_map(lambda m: m.update({NORM: "/etc/passwd"})), ["'/etc/passwd'"]),
    "hidden file": (weight_map(lambda m: m.update({NORM: ".."})), ["'..'", "plain name"]),
    "unknown dtype": (header(lambda h: h[NORM].update(dtype="F4")), [SHARD, NORM, "dtype 'F4'"]),
    "offsets backwards": (
        header(lambda h: h[NORM].update(data_offsets=[8, 0])),
        [NORM, "[begin, end]"],
    ),
    "offsets negative": (
        header(lambda h: h[NORM].update(data_offsets=[-8, 120])),
        [NORM, "0 or more"],
    ),
    "offsets short": (
        header(lambda h: h[NORM].update(data_offsets=[0, 64])),
        [NORM, "64 bytes, exp"],
    ),
    "offsets outside": (
        header(lambda h: h[NORM].update(data_offsets=[1 << 40, (1 << 40) + 128])),
        [SHARD, NORM, "truncated"],
    ),
    "overlap": (header(lambda h: h[NORM].update(data_offsets=[0, 128])), [SHARD, "overlaps"]),
    "shape of flags": (
        header(lambda h: h[NORM].update(shape=[True])),
        [NORM, "integers of 0 or more"],
    ),
    "entry of text": (
        header(lambda h: h.update({NORM: "x"})),
        [NORM, "dtype, shape and"],
    ),
    "sidecar codebook": (
        sidecar(lambda t: t["codebook.64.2"].__setitem__(0, 0.5)),
        [SIDECAR, "codebook.64.2", "value 0 is 0.5"],
    ),
    "sidecar signs": (
        sidecar(lambda t: t["signs.32.42"].__imul__(-1)),
        [SIDECAR, "signs.32.42", "value 0 is"],
    ),
    "sidecar not finite": (sidecar(lambda t: t["signs.32.42"].__setitem__(3, np.nan)), ["value 3 is nan"]),
    "sidecar shape": (
        sidecar(lambda t: t.update({"codebook.64.2": np.zeros(8, np.float32)})),
        [SIDECAR, "codebook.64.2", "found [8] of F32, expected [4] of F32"],
    ),
    "sidecar truncated": (cut(SIDECAR, 4), [SIDECAR, "truncated"]),
}


def write_sparse(path: Path, content: bytes, *, size: int) -> None:
    path.write_bytes(content)
    os.truncate(path, size)


@pytest.mark.parametrize("case", list(WEIGHTS))
def test_broken_weights(case: str, bundle_copy: Path) -> None:
    breaks, fragments = WEIGHTS[case]
    breaks(bundle_copy)
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle_copy)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"absent: found nothing, expected a JANGTQ directory"):
        Bundle.open(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="found a file"):
        Bundle.open(tmp_path / "file")


def test_duplicate_tensor_in_a_header(bundle_copy: Path) -> None:
    entry = json.dumps({"dtype": "U8", "shape": [1], "data_offsets": [0, 1]})
    write_header(bundle_copy / SHARD, f'{{"a": {entry}, "a": {entry}}}'.encode(), b"x")
    with pytest.raises(BundleError, match="'a' stands twice"):
        Bundle.open(bundle_copy)


def test_one_by_one_bits_are_checked_for_every_expert(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    write_bundle(path, dense_model(), WriteOptions("small", layout=Layout.ONE_BY_ONE))
    name = "model.layers.0.block_sparse_moe.experts.17.w2.tq_bits"
    edit_tensors(path, lambda t: t.update({name: np.array([3], np.uint8)}))
    with pytest.raises(BundleError, match=r"experts\.17\.w2\.tq_bits': 3 bits, expected 2"):
        Bundle.open(path)


def test_links_out_of_the_bundle_are_refused(bundle_copy: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    (bundle_copy / SHARD).rename(outside)
    (bundle_copy / SHARD).symlink_to(outside)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        Bundle.open(bundle_copy)
    outside.unlink()
    with pytest.raises(BundleError, match="leads nowhere"):
        Bundle.open(bundle_copy)


def test_a_directory_in_place_of_a_shard(bundle_copy: Path) -> None:
    (bundle_copy / SHARD).unlink()
    (bundle_copy / SHARD).mkdir()
    with pytest.raises(BundleError, match="not a regular file"):
        Bundle.open(bundle_copy)


def test_requests_outside_the_model(bundle_copy: Path) -> None:
    opened = Bundle.open(bundle_copy)
    with pytest.raises(BundleError, match=r"experts 32-33 are outside the model, which has experts 0-31"):
        opened.check_experts(range(34))
    with pytest.raises(BundleError, match="experts 32 are outside"):
        opened.read_experts(0, (32,))
    with pytest.raises(BundleError, match=r"layer 1 is outside the model, which has layers 0-0"):
        opened.read_experts(1, (0,))
    for experts in ((), (1, 1)):
        with pytest.raises(BundleError, match="at least one, each once"):
            opened.read_experts(0, experts)


def test_a_shard_that_shrinks_after_the_check(bundle_copy: Path) -> None:
    opened = Bundle.open(bundle_copy)
    os.truncate(bundle_copy / SHARD, 4096)
    with pytest.raises(BundleError, match="changed after it was checked"):
        opened.read_experts(0, (31,))
    (bundle_copy / SHARD).unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        opened.read_experts(0, (31,))
