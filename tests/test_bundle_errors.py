"""Each broken bundle gets one error that names file, tensor, found and expected."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from small_bundles import SHARD, dense_model, edit_header, edit_json, edit_tensors, write_header

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.vocabulary import Layout
from jangtq_bundle.writer import write_bundle
from jangtq_proto.errors import BundleError

INDEX = "model.safetensors.index.json"
SIDECAR = "jangtq_runtime.safetensors"
NORM = "model.layers.0.input_layernorm.weight"
CODES = "model.layers.0.block_sparse_moe.switch_mlp.gate_proj.tq_packed"
NORMS = "model.layers.0.block_sparse_moe.switch_mlp.gate_proj.tq_norms"
BITS = "model.layers.0.block_sparse_moe.switch_mlp.gate_proj.tq_bits"

Break = Callable[[Path], object]


@pytest.fixture(scope="module")
def sound_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("bundles") / "sound"
    write_bundle(path, dense_model(), WriteOptions("small"))
    return path


@pytest.fixture
def bundle(sound_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound_bundle, tmp_path / "bundle"))


def config(**members: object) -> Break:
    return lambda path: edit_json(path / "config.json", lambda config: config.update(members))


def jang(**members: object) -> Break:
    return lambda path: edit_json(path / "jang_config.json", lambda config: config.update(members))


def without(file: str, member: str) -> Break:
    return lambda path: edit_json(path / file, lambda config: config.pop(member))


def tensors(change: Callable[[dict[str, Any]], object]) -> Break:
    return lambda path: edit_tensors(path, change)


def header(change: Callable[[dict[str, Any]], object]) -> Break:
    return lambda path: edit_header(path / SHARD, change)


def weight_map(change: Callable[[dict[str, Any]], object]) -> Break:
    return lambda path: edit_json(path / INDEX, lambda index: change(index["weight_map"]))  # type: ignore[arg-type]


def cut(file: str, count: int) -> Break:
    return lambda path: os.truncate(path / file, (path / file).stat().st_size - count)


def replace(file: str, content: bytes) -> Break:
    return lambda path: (path / file).write_bytes(content)


def remove(file: str) -> Break:
    return lambda path: os.remove(path / file)


def both(first: Break, second: Break) -> Break:
    return lambda path: (first(path), second(path))


def sidecar(change: Callable[[dict[str, Any]], object]) -> Break:
    def edit(path: Path) -> None:
        tables = load_file(path / SIDECAR)
        change(tables)
        save_file(tables, path / SIDECAR)

    return edit


CONFIGURATION: dict[str, tuple[Break, list[str]]] = {
    "no config": (remove("config.json"), ["config.json is missing"]),
    "no jang_config": (remove("jang_config.json"), ["jang_config.json is missing"]),
    "not JSON": (replace("config.json", b"{"), ["config.json", "not valid JSON"]),
    "not an object": (replace("config.json", b"[]"), ["config.json", "found a JSON list", "an object"]),
    "not text": (replace("config.json", b"\xff\xfe"), ["config.json", "not valid JSON"]),
    "too deep": (replace("config.json", b'{"a":' * 100_000), ["config.json", "nested too deeply"]),
    "duplicate": (replace("config.json", b'{"a": 1, "a": 2}'), ["config.json", "'a' stands twice"]),
    "not a number": (replace("config.json", b'{"a": NaN}'), ["config.json", "NaN is not a JSON number"]),
    "weight format": (jang(weight_format="gguf"), ["jang_config.json", "weight_format is 'gguf'", "'mxtq'"]),
    "no weight format": (without("jang_config.json", "weight_format"), ["weight_format is missing", "mxtq"]),
    "version": (jang(version=3), ["jang_config.json", "version is 3"]),
    "profile": (jang(profile="JANGTQ9"), ["profile is 'JANGTQ9'", "JANGTQ2, JANGTQ3, JANGTQ4, JANGTQ_K"]),
    "profile and bits": (jang(profile="JANGTQ4"), ["routed_expert are 2", "profile JANGTQ4 has 4"]),
    "bits disagree": (config(mxtq_bits={"routed_expert": 4}), ["config.json", "are 4", "says 2"]),
    "no bits": (
        lambda path: (
            without("config.json", "mxtq_bits")(path),
            without("jang_config.json", "mxtq_bits")(path),
        ),
        ["jang_config.json", "mxtq_bits is missing"],
    ),
    "bits too many": (jang(mxtq_bits={"routed_expert": 8}), ["routed_expert is 8", "from 2 to 4"]),
    "model type": (config(model_type="llama"), ["model_type is 'llama'", "'minimax_m2'"]),
    "scoring": (config(scoring_func="softmax"), ["scoring_func is 'softmax'", "'sigmoid'"]),
    "hidden size": (config(hidden_size=0), ["config.json", "hidden_size is 0", "from 1"]),
    "hidden size text": (config(hidden_size="64"), ["hidden_size is '64'", "an integer"]),
    "hidden size flag": (config(hidden_size=True), ["hidden_size is True", "an integer"]),
    "group": (config(hidden_size=96), ["hidden_size is 96", "multiple of the quantization group 64"]),
    "no layers": (without("config.json", "num_hidden_layers"), ["num_hidden_layers is missing"]),
    "no rotary": (without("config.json", "rotary_dim"), ["rotary_dim is missing"]),
    "too many picks": (config(num_experts_per_tok=33), ["num_experts_per_tok is 33", "from 1 to 32"]),
    "heads": (config(num_attention_heads=3, num_key_value_heads=2), ["num_attention_heads is 3", "multiple"]),
    "padding": (
        jang(expert_padding={"original_num_local_experts": 30, "padded_num_local_experts": 64}),
        ["expert_padding says 64", "num_local_experts 32"],
    ),
    "layout": (jang(routed_expert_layout="per_expert"), ["'per_expert'", "tensors are prestacked"]),
    "quantization mode": (config(quantization={"mode": "mxfp4"}), ["mode is 'mxfp4'", "'affine'"]),
}

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


@pytest.mark.parametrize("case", [*CONFIGURATION, *WEIGHTS])
def test_broken_bundle(case: str, bundle: Path) -> None:
    breaks, fragments = (CONFIGURATION | WEIGHTS)[case]
    breaks(bundle)
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"absent: found nothing, expected a JANGTQ directory"):
        Bundle.open(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="found a file"):
        Bundle.open(tmp_path / "file")


def test_duplicate_tensor_in_a_header(bundle: Path) -> None:
    entry = json.dumps({"dtype": "U8", "shape": [1], "data_offsets": [0, 1]})
    write_header(bundle / SHARD, f'{{"a": {entry}, "a": {entry}}}'.encode(), b"x")
    with pytest.raises(BundleError, match="'a' stands twice"):
        Bundle.open(bundle)


def test_one_by_one_bits_are_checked_for_every_expert(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    write_bundle(path, dense_model(), WriteOptions("small", layout=Layout.ONE_BY_ONE))
    name = "model.layers.0.block_sparse_moe.experts.17.w2.tq_bits"
    edit_tensors(path, lambda t: t.update({name: np.array([3], np.uint8)}))
    with pytest.raises(BundleError, match=r"experts\.17\.w2\.tq_bits': 3 bits, expected 2"):
        Bundle.open(path)


def test_links_out_of_the_bundle_are_refused(bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    (bundle / SHARD).rename(outside)
    (bundle / SHARD).symlink_to(outside)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        Bundle.open(bundle)
    outside.unlink()
    with pytest.raises(BundleError, match="leads nowhere"):
        Bundle.open(bundle)


def test_a_directory_in_place_of_a_shard(bundle: Path) -> None:
    (bundle / SHARD).unlink()
    (bundle / SHARD).mkdir()
    with pytest.raises(BundleError, match="not a regular file"):
        Bundle.open(bundle)


def test_requests_outside_the_model(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    with pytest.raises(BundleError, match=r"experts 32-33 are outside the model, which has experts 0-31"):
        opened.check_experts(range(34))
    with pytest.raises(BundleError, match="experts 32 are outside"):
        opened.read_experts(0, (32,))
    with pytest.raises(BundleError, match=r"layer 1 is outside the model, which has layers 0-0"):
        opened.read_experts(1, (0,))
    for experts in ((), (1, 1)):
        with pytest.raises(BundleError, match="at least one, each once"):
            opened.read_experts(0, experts)


def test_a_shard_that_shrinks_after_the_check(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    os.truncate(bundle / SHARD, 4096)
    with pytest.raises(BundleError, match="changed after it was checked"):
        opened.read_experts(0, (31,))
    (bundle / SHARD).unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        opened.read_experts(0, (31,))
