"""Bundles made by the reference converter from small random checkpoints, and their dense weights."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import mlx.core as mx
import numpy as np
from jang_tools.pad_minimax_jangtq_experts import migrate
from jang_tools.turboquant.codebook import compute_codebook
from jang_tools.turboquant.pipeline import unpack_bits
from jang_tools.turboquant.rotation import generate_random_signs, hadamard_inverse
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tests.support.made_once import made_once
from tests.support.products import part
from tests.support.small_checkpoints import Sizes, save_small_files, write_checkpoint

Dense = dict[str, NDArray[np.float32]]
PROJECTIONS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


class Variant(StrEnum):
    """What the converter is asked for."""

    JANGTQ2 = "jangtq2"
    JANGTQ2_ONE_BY_ONE = "jangtq2-one-by-one"
    JANGTQ_K = "jangtq-k"
    JANGTQ_K_ONE_BY_ONE = "jangtq-k-one-by-one"
    PADDED = "padded"
    JANGTQ3 = "jangtq3"
    JANGTQ4 = "jangtq4"


class TinyVariant(StrEnum):
    """The same with the smallest sizes, for tests that open many."""

    STACKED = "tiny"
    ONE_BY_ONE = "tiny-one-by-one"
    K = "tiny-k"
    PADDED = "tiny-padded"


STACKED_FROM: Mapping[StrEnum, StrEnum] = {
    Variant.JANGTQ2: Variant.JANGTQ2_ONE_BY_ONE,
    Variant.JANGTQ_K: Variant.JANGTQ_K_ONE_BY_ONE,
    TinyVariant.STACKED: TinyVariant.ONE_BY_ONE,
}
_ONE_BY_ONE = frozenset({*STACKED_FROM.values(), TinyVariant.K, TinyVariant.PADDED})


_TINY = Sizes(32, hidden_size=64, intermediate_size=64, layer_count=1, head_count=2, key_value_head_count=1)
SIZES: Mapping[StrEnum, Sizes] = {
    Variant.JANGTQ2: Sizes(256),
    Variant.JANGTQ2_ONE_BY_ONE: Sizes(256),
    Variant.JANGTQ_K: Sizes(part(64, whole=256)),
    Variant.JANGTQ_K_ONE_BY_ONE: Sizes(part(64, whole=256)),
    Variant.PADDED: Sizes(part(58, whole=154)),
    # The reference packs three bits only where ten codes fill every word.
    Variant.JANGTQ3: Sizes(32, hidden_size=320, intermediate_size=160),
    Variant.JANGTQ4: Sizes(32, hidden_size=128),
    TinyVariant.STACKED: _TINY,
    TinyVariant.ONE_BY_ONE: _TINY,
    TinyVariant.K: _TINY,
    TinyVariant.PADDED: replace(_TINY, expert_count=34),
}

PROFILES: Mapping[StrEnum, str] = {
    Variant.JANGTQ2: "JANGTQ2",
    Variant.JANGTQ2_ONE_BY_ONE: "JANGTQ2",
    Variant.JANGTQ_K: "JANGTQ_K",
    Variant.JANGTQ_K_ONE_BY_ONE: "JANGTQ_K",
    Variant.PADDED: "JANGTQ2",
    Variant.JANGTQ3: "JANGTQ3",
    Variant.JANGTQ4: "JANGTQ4",
    TinyVariant.STACKED: "JANGTQ2",
    TinyVariant.ONE_BY_ONE: "JANGTQ2",
    TinyVariant.K: "JANGTQ_K",
    TinyVariant.PADDED: "JANGTQ2",
}


def make_reference_bundle(variant: StrEnum, root: Path) -> Path:
    """The converter's bundle for a variant, made once under `root` for all processes of a run."""
    return made_once(root / variant, lambda path: _make(variant, root, path))


def _make(variant: StrEnum, root: Path, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=root) as work:
        if variant in STACKED_FROM:
            made = _stack(make_reference_bundle(STACKED_FROM[variant], root), Path(work))
        else:
            made = _convert(variant, Path(work))
        made.rename(path)


def _convert(variant: StrEnum, work: Path) -> Path:
    write_checkpoint(work / "source", SIZES[variant], seed=7)
    options = ["--no-prestack"] if variant in _ONE_BY_ONE else []
    run_reference_converter(work / "source", work / "bundle", PROFILES[variant], *options)
    return work / "bundle"


def run_reference_converter(source: Path, target: Path, profile: str, *options: str) -> None:
    """Raises RuntimeError with what it printed."""
    _run_module("convert_minimax_jangtq", source, target, profile, *options)


def _stack(one_by_one: Path, work: Path) -> Path:
    """What the converter does last, unless told --no-prestack, by the tool that it calls for it.

    The tool parses a file's whole header for each of its tensors, so the bundle is first cut into small
    files: 2 s in place of 15.
    """
    small = Path(shutil.copytree(one_by_one, work / "small", ignore=shutil.ignore_patterns("model-*")))
    [file] = one_by_one.glob("model-*.safetensors")
    save_small_files(small, load_file(file))
    _run_module("rebundle_jangtq_stacked", small, work / "bundle")
    return work / "bundle"


def remove_padding(bundle: Path) -> None:
    """A one-by-one bundle as converters left it before they padded experts: what the pad tool is for."""
    config, jang = (json.loads((bundle / f"{name}.json").read_text()) for name in ("config", "jang_config"))
    count = jang.pop("expert_padding")["original_num_local_experts"]
    padded = {f".experts.{expert}." for expert in range(count, config["num_local_experts"])}
    [file] = bundle.glob("model-*.safetensors")
    tensors = {
        name: tensor[:count].copy() if "moe.gate.weight" in name or "correction_bias" in name else tensor
        for name, tensor in load_file(file).items()
        if not any(expert in name for expert in padded)
    }
    save_file(tensors, file)
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, file.name)}
    (bundle / "model.safetensors.index.json").write_text(json.dumps(index))
    (bundle / "config.json").write_text(json.dumps(config | {"num_local_experts": count}))
    (bundle / "jang_config.json").write_text(json.dumps(jang))


def pad_experts(bundle: Path) -> None:
    """What the reference's pad tool does, by the tool itself."""
    migrate(bundle, apply=True)


def _run_module(name: str, *arguments: Path | str) -> None:
    command = [sys.executable, "-m", f"jang_tools.{name}", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode or "FAILED" in result.stdout:
        raise RuntimeError(f"{' '.join(command)}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}")


def dequantized_checkpoint(bundle_path: Path) -> Dense:
    """All dense float32 weights of a bundle under mlx-lm's names, experts stacked in the original basis.

    Stands on the reference's own functions, so that it can judge ours.
    """
    tensors: dict[str, NDArray[np.generic]] = {}
    for file in sorted(bundle_path.glob("model*.safetensors")):
        tensors |= load_file(file)
    config = json.loads((bundle_path / "config.json").read_text())
    seed = json.loads((bundle_path / "jang_config.json").read_text())["mxtq_seed"]
    dense = _dequantize_affine(tensors, config["quantization"]["group_size"])
    stacked = stack_experts(tensors, config["num_local_experts"])
    for base in (name.removesuffix(".tq_packed") for name in stacked if name.endswith(".tq_packed")):
        in_features = config["intermediate_size" if base.endswith("down_proj") else "hidden_size"]
        dense[f"{base}.weight"] = _dequantize_experts(stacked, base, in_features=in_features, seed=seed)
    return dense


def _dequantize_affine(tensors: Mapping[str, NDArray[np.generic]], group_size: int) -> Dense:
    dense: Dense = {}
    for name, tensor in tensors.items():
        base = name.removesuffix(".weight")
        if f"{base}.scales" in tensors and name.endswith(".weight"):
            scales, biases = (
                mx.array(tensors[f"{base}.{part}"].astype(np.float32)) for part in ("scales", "biases")
            )
            weight = mx.dequantize(mx.array(tensor), scales, biases, group_size=group_size, bits=8)
            dense[name] = np.array(weight)
        elif not name.endswith((".scales", ".biases", ".tq_packed", ".tq_norms", ".tq_bits")):
            dense[name] = tensor.astype(np.float32)
    return dense


def stack_experts(
    tensors: Mapping[str, NDArray[np.generic]], expert_count: int
) -> Mapping[str, NDArray[np.generic]]:
    """The prestacked form of whichever layout the bundle has."""
    stacked = {name: tensor for name, tensor in tensors.items() if ".switch_mlp." in name}
    for name in tensors:
        moe, found, rest = name.partition(".experts.0.")
        if not found:
            continue
        projection, _, part = rest.partition(".")
        parts = [tensors[f"{moe}.experts.{e}.{projection}.{part}"] for e in range(expert_count)]
        target = f"{moe}.switch_mlp.{PROJECTIONS[projection]}.{part}"
        stacked[target] = parts[0] if part == "tq_bits" else np.stack(parts)
    return stacked


def _dequantize_experts(
    stacked: Mapping[str, NDArray[np.generic]], base: str, *, in_features: int, seed: int
) -> NDArray[np.float32]:
    packed, norms = stacked[f"{base}.tq_packed"], stacked[f"{base}.tq_norms"]
    bits = int(stacked[f"{base}.tq_bits"][0])
    codes = unpack_bits(mx.array(packed), bits, packed.size * (32 // bits))
    rotated = mx.take(mx.array(compute_codebook(in_features, bits)), codes.astype(mx.uint32))
    rotated = rotated.reshape(*norms.shape, -1)[..., :in_features]
    rotated = rotated * mx.array(norms.astype(np.float32))[..., None]
    signs = generate_random_signs(in_features, seed=seed)
    return np.array(hadamard_inverse(rotated, signs), dtype=np.float32)
