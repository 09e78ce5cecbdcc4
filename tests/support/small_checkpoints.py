"""Hugging Face checkpoints of small random MiniMax-M2 models."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from jangtq_bundle.byte_tokenizer import (
    BEGIN_OF_TEXT,
    END_OF_TURN,
    VOCABULARY_SIZE,
    token_id,
    tokenizer_files,
)


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


def write_checkpoint(
    path: Path, sizes: Sizes, *, seed: int, without: str | None = None, spoiled: str | None = None
) -> None:
    """A Hugging Face checkpoint directory as the converter reads it.

    without: a tensor that it lacks; spoiled: one whose first value is not finite.
    """
    tensors = checkpoint_tensors(sizes, seed=seed)
    if spoiled:
        tensors[spoiled].flat[0] = np.inf
    kept = {name: tensor for name, tensor in tensors.items() if name != without}
    _write(path, kept, hugging_face_config(sizes))


def write_fp8_checkpoint(path: Path, sizes: Sizes, *, seed: int) -> None:
    """The same with attention and experts as float8 E4M3, a float32 scale for each square of 128."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, NDArray[np.generic]] = {}
    for name, tensor in checkpoint_tensors(sizes, seed=seed).items():
        if ".self_attn." not in name and ".experts." not in name or tensor.ndim == 1:
            tensors[name] = tensor
            continue
        squares = tuple(-(-side // 128) for side in tensor.shape)
        tensors[name] = (tensor.astype(np.float32) * 64).astype(ml_dtypes.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = (rng.random(squares, dtype=np.float32) + 0.5) / np.float32(64)
    quantization = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    # One file: the reference converter takes a scale that lies in another file for none.
    _write(
        path, tensors, hugging_face_config(sizes) | {"quantization_config": quantization}, most=len(tensors)
    )


def _write(
    path: Path, tensors: Mapping[str, NDArray[np.generic]], config: Mapping[str, object], *, most: int = 64
) -> None:
    path.mkdir()
    save_small_files(path, tensors, most=most)
    (path / "config.json").write_text(json.dumps(config, indent=2))
    for name, content in tokenizer_files().items():
        (path / name).write_bytes(content)


def save_small_files(path: Path, tensors: Mapping[str, NDArray[np.generic]], *, most: int = 64) -> None:
    """Files of so many tensors at most."""
    names = list(tensors)
    chunks = [names[start : start + most] for start in range(0, len(names), most)]
    for number, chunk in enumerate(chunks, start=1):
        file = path / f"model-{number:05d}-of-{len(chunks):05d}.safetensors"
        save_file({name: tensors[name] for name in chunk}, file)
