"""A GGUF of random codes for llama.cpp: experts as Q2_K, the other matrices as Q8_0.

Every tensor repeats one random block: what reading and computing take does not depend on the codes.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.config import ModelConfig

_Q8_0_WEIGHTS, _Q8_0_BYTES = 32, 34
_Q2_K_WEIGHTS, _Q2_K_BYTES = 256, 84


def write_gguf(path: Path, config: ModelConfig) -> Path:
    """A model of the same sizes as a bundle's; a file that is there is taken."""
    if path.exists():
        return path
    import gguf  # type: ignore[import-not-found]

    draft = path.with_name(f".{path.name}")
    writer = gguf.GGUFWriter(str(draft), "minimax-m2")
    attention = config.attention
    writer.add_block_count(config.layer_count)
    writer.add_context_length(204_800)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_expert_feed_forward_length(config.intermediate_size)
    writer.add_head_count(attention.head_count)
    writer.add_head_count_kv(attention.key_value_head_count)
    writer.add_key_length(attention.head_size)
    writer.add_value_length(attention.head_size)
    writer.add_rope_dimension_count(attention.rotary_size)
    writer.add_rope_freq_base(attention.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_epsilon)
    writer.add_expert_count(config.expert_count)
    writer.add_expert_used_count(config.experts_per_token)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_vocab_size(config.vocabulary_size)
    writer.add_tokenizer_model("none")
    _add_tensors(writer, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    draft.replace(path)
    return path


def _add_tensors(writer: "object", config: ModelConfig) -> None:
    import gguf

    assert isinstance(writer, gguf.GGUFWriter)
    hidden, inner, experts = config.hidden_size, config.intermediate_size, config.expert_count
    query, kv = config.attention.query_size, config.attention.key_value_size

    def floats(name: str, *shape: int) -> None:
        random = np.random.default_rng(5)
        numbers = np.ones(shape) if name.endswith("norm.weight") else 0.02 * random.standard_normal(shape)
        writer.add_tensor(name, numbers.astype(np.float32))

    def codes(name: str, *shape: int, kind: gguf.GGMLQuantizationType) -> None:
        block, size = _q2_k() if kind is gguf.GGMLQuantizationType.Q2_K else _q8_0()
        row_bytes = shape[-1] // size * block.shape[1]
        whole = np.resize(block.reshape(-1), (*shape[:-1], row_bytes))
        writer.add_tensor(name, whole, raw_dtype=kind)

    q8, q2 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q2_K
    for name in ("token_embd.weight", "output.weight"):
        codes(name, config.vocabulary_size, hidden, kind=q8)
    floats("output_norm.weight", hidden)
    for layer in range(config.layer_count):
        prefix = f"blk.{layer}"
        for name, rows, columns in (
            ("attn_q", query, hidden),
            ("attn_k", kv, hidden),
            ("attn_v", kv, hidden),
            ("attn_output", hidden, query),
        ):
            codes(f"{prefix}.{name}.weight", rows, columns, kind=q8)
        floats(f"{prefix}.attn_norm.weight", hidden)
        floats(f"{prefix}.ffn_norm.weight", hidden)
        floats(f"{prefix}.attn_q_norm.weight", query)
        floats(f"{prefix}.attn_k_norm.weight", kv)
        floats(f"{prefix}.ffn_gate_inp.weight", experts, hidden)
        floats(f"{prefix}.exp_probs_b.bias", experts)
        codes(f"{prefix}.ffn_gate_exps.weight", experts, inner, hidden, kind=q2)
        codes(f"{prefix}.ffn_up_exps.weight", experts, inner, hidden, kind=q2)
        codes(f"{prefix}.ffn_down_exps.weight", experts, hidden, inner, kind=q2)


def _q8_0() -> tuple[NDArray[np.uint8], int]:
    """Blocks of a float16 scale and 32 signed codes, and how many weights each holds."""
    blocks = np.random.default_rng(8).integers(0, 256, (3 * 2048, _Q8_0_BYTES), dtype=np.uint8)
    blocks[:, :2] = np.array([0.02 / 74], np.float16).view(np.uint8)
    return blocks, _Q8_0_WEIGHTS


def _q2_k() -> tuple[NDArray[np.uint8], int]:
    """Blocks of 16 scales, 256 codes, and float16 scales of scales and of minima."""
    blocks = np.random.default_rng(9).integers(0, 256, (3 * 1024, _Q2_K_BYTES), dtype=np.uint8)
    blocks[:, -4:-2] = np.array([0.002], np.float16).view(np.uint8)
    blocks[:, -2:] = np.array([0.003], np.float16).view(np.uint8)
    return blocks, _Q2_K_WEIGHTS
