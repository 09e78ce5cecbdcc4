"""Bundles made by the reference converter from small random checkpoints, and their dense weights."""

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import mlx.core as mx
import numpy as np
from jang_tools.turboquant.codebook import compute_codebook
from jang_tools.turboquant.pipeline import unpack_bits
from jang_tools.turboquant.rotation import generate_random_signs, hadamard_inverse
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from jangtq_bundle.byte_tokenizer import (
    BEGIN_OF_TEXT,
    END_OF_TURN,
    VOCABULARY_SIZE,
    token_id,
    tokenizer_files,
)

Dense = dict[str, NDArray[np.float32]]
PROJECTIONS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


class Variant(StrEnum):
    """What the converter is asked for."""

    JANGTQ2 = "jangtq2"
    JANGTQ2_ONE_BY_ONE = "jangtq2-one-by-one"
    JANGTQ_K = "jangtq-k"
    PADDED = "padded"
    JANGTQ3 = "jangtq3"
    JANGTQ4 = "jangtq4"


@dataclass(frozen=True)
class Sizes:
    """A MiniMax-M2 model in small. Like the real one, rows split into two Hadamard blocks."""

    expert_count: int
    hidden_size: int = 192
    intermediate_size: int = 96
    layer_count: int = 2
    head_count: int = 4
    key_value_head_count: int = 2
    head_size: int = 32


SIZES: Mapping[Variant, Sizes] = {
    Variant.JANGTQ2: Sizes(256),
    Variant.JANGTQ2_ONE_BY_ONE: Sizes(256),
    Variant.JANGTQ_K: Sizes(256),
    Variant.PADDED: Sizes(154),
    # The reference packs three bits only where ten codes fill every word.
    Variant.JANGTQ3: Sizes(32, hidden_size=320, intermediate_size=160),
    Variant.JANGTQ4: Sizes(32, hidden_size=128),
}

PROFILES: Mapping[Variant, str] = {
    Variant.JANGTQ2: "JANGTQ2",
    Variant.JANGTQ2_ONE_BY_ONE: "JANGTQ2",
    Variant.JANGTQ_K: "JANGTQ_K",
    Variant.PADDED: "JANGTQ2",
    Variant.JANGTQ3: "JANGTQ3",
    Variant.JANGTQ4: "JANGTQ4",
}


def hugging_face_config(sizes: Sizes) -> dict[str, object]:
    return {
        "architectures": ["MiniMaxM2ForCausalLM"],
        "model_type": "minimax_m2",
        "hidden_act": "silu",
        "hidden_size": sizes.hidden_size,
        "intermediate_size": sizes.intermediate_size,
        "shared_intermediate_size": 0,
        "num_hidden_layers": sizes.layer_count,
        "num_attention_heads": sizes.head_count,
        "num_key_value_heads": sizes.key_value_head_count,
        "head_dim": sizes.head_size,
        "rotary_dim": sizes.head_size // 2,
        "rope_theta": 5_000_000,
        "use_qk_norm": True,
        "rms_norm_eps": 1e-6,
        "num_local_experts": sizes.expert_count,
        "num_experts_per_tok": 8,
        "scoring_func": "sigmoid",
        "use_routing_bias": True,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "vocab_size": VOCABULARY_SIZE,
        "bos_token_id": token_id(BEGIN_OF_TEXT),
        "eos_token_id": token_id(END_OF_TURN),
    }


def checkpoint_tensors(sizes: Sizes, *, seed: int) -> dict[str, NDArray[np.float16]]:
    """Random float16 weights under Hugging Face names, scaled so that logits spread and routing varies."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float) -> NDArray[np.float16]:
        return (rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)).astype(np.float16)

    def norm(size: int) -> NDArray[np.float16]:
        return np.float16(1.0) + normal(size, scale=0.1)

    hidden, intermediate = sizes.hidden_size, sizes.intermediate_size
    queries, keys = sizes.head_count * sizes.head_size, sizes.key_value_head_count * sizes.head_size
    tensors = {
        "model.embed_tokens.weight": normal(VOCABULARY_SIZE, hidden, scale=1.0),
        "model.norm.weight": norm(hidden),
        "lm_head.weight": normal(VOCABULARY_SIZE, hidden, scale=2.5 * hidden**-0.5),
    }
    for layer in range(sizes.layer_count):
        prefix = f"model.layers.{layer}"
        tensors |= {
            f"{prefix}.input_layernorm.weight": norm(hidden),
            f"{prefix}.post_attention_layernorm.weight": norm(hidden),
            f"{prefix}.self_attn.q_proj.weight": normal(queries, hidden, scale=hidden**-0.5),
            f"{prefix}.self_attn.k_proj.weight": normal(keys, hidden, scale=hidden**-0.5),
            f"{prefix}.self_attn.v_proj.weight": normal(keys, hidden, scale=hidden**-0.5),
            f"{prefix}.self_attn.o_proj.weight": normal(hidden, queries, scale=queries**-0.5),
            f"{prefix}.self_attn.q_norm.weight": norm(queries),
            f"{prefix}.self_attn.k_norm.weight": norm(keys),
            f"{prefix}.block_sparse_moe.gate.weight": normal(sizes.expert_count, hidden, scale=hidden**-0.5),
            f"{prefix}.block_sparse_moe.e_score_correction_bias": normal(sizes.expert_count, scale=0.05),
        }
        for expert in range(sizes.expert_count):
            base = f"{prefix}.block_sparse_moe.experts.{expert}"
            tensors[f"{base}.w1.weight"] = normal(intermediate, hidden, scale=hidden**-0.5)
            tensors[f"{base}.w3.weight"] = normal(intermediate, hidden, scale=hidden**-0.5)
            tensors[f"{base}.w2.weight"] = normal(hidden, intermediate, scale=3 * intermediate**-0.5)
    return tensors


def make_reference_bundle(variant: Variant, root: Path) -> Path:
    """The converter's bundle for a variant, made once under `root` whoever asks, in whatever process."""
    bundle = root / variant
    with _lock(root / f"{variant}.lock"):
        if not bundle.exists():
            source = root / f"{variant}-source"
            write_checkpoint(source, SIZES[variant], seed=7)
            _convert(source, bundle, variant)
            shutil.rmtree(source)
    return bundle


def _convert(source: Path, bundle: Path, variant: Variant) -> None:
    """By the converter alone, or by the converter and then by the tool it calls to stack experts.

    The tool parses a file's whole header for each of its tensors, so a bundle of many experts is first cut
    into small files: 2 s in place of 15.
    """
    convert = "convert_minimax_jangtq"
    if SIZES[variant].expert_count < 100:
        _run_module(convert, source, bundle, PROFILES[variant])
        return
    single = bundle.with_name(f"{variant}-single")
    _run_module(convert, source, single, PROFILES[variant], "--no-prestack")
    if variant is Variant.JANGTQ2_ONE_BY_ONE:
        single.rename(bundle)
        return
    [file] = single.glob("model-*.safetensors")
    tensors = load_file(file)
    file.unlink()
    _save_small_files(single, tensors)
    _run_module("rebundle_jangtq_stacked", single, bundle)
    shutil.rmtree(single)


def write_checkpoint(path: Path, sizes: Sizes, *, seed: int) -> None:
    """A Hugging Face checkpoint directory as the converter reads it."""
    path.mkdir()
    _save_small_files(path, checkpoint_tensors(sizes, seed=seed))
    (path / "config.json").write_text(json.dumps(hugging_face_config(sizes), indent=2))
    for name, content in tokenizer_files().items():
        (path / name).write_bytes(content)


def _save_small_files(path: Path, tensors: Mapping[str, NDArray[np.generic]]) -> None:
    names = list(tensors)
    chunks = [names[start : start + 64] for start in range(0, len(names), 64)]
    for number, chunk in enumerate(chunks, start=1):
        file = path / f"model-{number:05d}-of-{len(chunks):05d}.safetensors"
        save_file({name: tensors[name] for name in chunk}, file)


def _run_module(name: str, *arguments: Path | str) -> None:
    command = [sys.executable, "-m", f"jang_tools.{name}", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode or "FAILED" in result.stdout:
        raise RuntimeError(f"{' '.join(command)}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
