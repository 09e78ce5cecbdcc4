"""The tensors that a MiniMax-M2 model in JANGTQ form must have: name, dtypes and shape. Opens no file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jangtq_bundle.config import ModelConfig
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.vocabulary import (
    AffineFormat,
    Layout,
    Part,
    Projection,
    moe_prefix,
    single_name,
    stacked_name,
    words_per_row,
)

FLOATS: Final = ("F16", "BF16", "F32")
"""The reference writes F16; MLX reads any of these for what is not a routed expert."""


@dataclass(frozen=True, slots=True)
class TensorRule:
    """One tensor that must be there."""

    name: str
    dtypes: tuple[str, ...]
    shape: tuple[int, ...]


def matrices(config: ModelConfig) -> Iterator[tuple[str, int, int]]:
    """Name, rows and columns of every matrix outside the routed experts, embeddings and head first."""
    hidden, sizes, shared = config.hidden_size, config.attention, config.shared_intermediate_size
    yield "model.embed_tokens", config.vocabulary_size, hidden
    if not config.ties_embeddings:
        yield "lm_head", config.vocabulary_size, hidden
    for layer in range(config.layer_count):
        prefix, moe = f"model.layers.{layer}.self_attn", moe_prefix(layer)
        yield f"{prefix}.q_proj", sizes.query_size, hidden
        yield f"{prefix}.k_proj", sizes.key_value_size, hidden
        yield f"{prefix}.v_proj", sizes.key_value_size, hidden
        yield f"{prefix}.o_proj", hidden, sizes.query_size
        yield f"{moe}.gate", config.expert_count, hidden
        if shared:
            # Named as in the later MiniMax models; MiniMax-M2 itself has no shared expert.
            yield f"{moe}.shared_experts.gate_proj", shared, hidden
            yield f"{moe}.shared_experts.up_proj", shared, hidden
            yield f"{moe}.shared_experts.down_proj", hidden, shared


def expected_tensors(config: ModelConfig, layout: Layout, holdings: Holdings) -> Iterator[TensorRule]:
    """Every tensor of the weight files of a bundle, or of a slice that holds so much of it."""
    if holdings.has_dense:
        yield from _dense(config)
    if holdings.experts:
        for layer in range(config.layer_count):
            yield from _experts(layer, config, layout, holdings.experts)


def _dense(config: ModelConfig) -> Iterator[TensorRule]:
    for name, rows, columns in matrices(config):
        yield from _matrix(name, rows, columns, affine=config.matrix_format(name))
    for layer in range(config.layer_count):
        yield from _vectors(layer, config)
    yield TensorRule("model.norm.weight", FLOATS, (config.hidden_size,))


def is_unused(name: str) -> bool:
    """Tensors that checkpoints carry and no layer reads: the next-token heads and tables of old rotations."""
    return "mtp." in name or name.endswith(".rotary_emb.inv_freq")


def _matrix(name: str, rows: int, columns: int, *, affine: AffineFormat | None) -> Iterator[TensorRule]:
    if affine is None:
        yield TensorRule(f"{name}.weight", FLOATS, (rows, columns))
        return
    groups = (rows, columns // affine.group_size)
    yield TensorRule(f"{name}.weight", ("U32",), (rows, columns * affine.bits // 32))
    yield TensorRule(f"{name}.scales", FLOATS, groups)
    yield TensorRule(f"{name}.biases", FLOATS, groups)


def _vectors(layer: int, config: ModelConfig) -> Iterator[TensorRule]:
    prefix, hidden, sizes = f"model.layers.{layer}", config.hidden_size, config.attention
    yield TensorRule(f"{prefix}.input_layernorm.weight", FLOATS, (hidden,))
    yield TensorRule(f"{prefix}.post_attention_layernorm.weight", FLOATS, (hidden,))
    yield TensorRule(f"{moe_prefix(layer)}.e_score_correction_bias", FLOATS, (config.expert_count,))
    if sizes.uses_qk_norm:
        yield TensorRule(f"{prefix}.self_attn.q_norm.weight", FLOATS, (sizes.query_size,))
        yield TensorRule(f"{prefix}.self_attn.k_norm.weight", FLOATS, (sizes.key_value_size,))


def _experts(layer: int, config: ModelConfig, layout: Layout, held: tuple[int, ...]) -> Iterator[TensorRule]:
    for projection in Projection:
        rows = config.out_features(projection)
        words = words_per_row(config.in_features(projection), config.bits.of(projection))
        parts = ((Part.CODES, "U32", (rows, words)), (Part.NORMS, "F16", (rows,)))
        if layout is Layout.PRESTACKED:
            for part, dtype, shape in parts:
                name = stacked_name(layer, projection, part)
                yield TensorRule(name, (dtype,), (len(held), *shape))
            yield TensorRule(stacked_name(layer, projection, Part.BITS), ("U8",), (1,))
            continue
        for expert in held:
            for part, dtype, shape in (*parts, (Part.BITS, "U8", (1,))):
                name = single_name(layer, expert, projection=projection, part=part)
                yield TensorRule(name, (dtype,), shape)
