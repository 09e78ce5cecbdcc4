"""The tensors that a MiniMax-M2 model in JANGTQ form must have: name, dtypes and shape. Opens no file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jangtq_bundle.config import ModelConfig
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.vocabulary import (
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


def expected_tensors(config: ModelConfig, layout: Layout, holdings: Holdings) -> Iterator[TensorRule]:
    """Every tensor of the weight files of a bundle, or of a slice that holds so much of it."""
    if holdings.has_dense:
        yield from _dense(config)
    if holdings.experts:
        for layer in range(config.layer_count):
            yield from _experts(layer, config, layout, holdings.experts)


def _dense(config: ModelConfig) -> Iterator[TensorRule]:
    hidden = config.hidden_size
    yield from _affine("model.embed_tokens", config.vocabulary_size, hidden, config=config)
    for layer in range(config.layer_count):
        yield from _attention(layer, config)
        yield from _router(layer, config)
        yield from _shared_expert(layer, config)
    yield TensorRule("model.norm.weight", FLOATS, (hidden,))
    if not config.ties_embeddings:
        yield from _affine("lm_head", config.vocabulary_size, hidden, config=config)


def _affine(name: str, out_features: int, in_features: int, *, config: ModelConfig) -> Iterator[TensorRule]:
    groups = (out_features, in_features // config.affine.group_size)
    yield TensorRule(f"{name}.weight", ("U32",), (out_features, in_features * config.affine.bits // 32))
    yield TensorRule(f"{name}.scales", FLOATS, groups)
    yield TensorRule(f"{name}.biases", FLOATS, groups)


def _attention(layer: int, config: ModelConfig) -> Iterator[TensorRule]:
    prefix, hidden, sizes = f"model.layers.{layer}.self_attn", config.hidden_size, config.attention
    yield from _affine(f"{prefix}.q_proj", sizes.query_size, hidden, config=config)
    yield from _affine(f"{prefix}.k_proj", sizes.key_value_size, hidden, config=config)
    yield from _affine(f"{prefix}.v_proj", sizes.key_value_size, hidden, config=config)
    yield from _affine(f"{prefix}.o_proj", hidden, sizes.query_size, config=config)
    if sizes.uses_qk_norm:
        yield TensorRule(f"{prefix}.q_norm.weight", FLOATS, (sizes.query_size,))
        yield TensorRule(f"{prefix}.k_norm.weight", FLOATS, (sizes.key_value_size,))


def _router(layer: int, config: ModelConfig) -> Iterator[TensorRule]:
    hidden, experts = config.hidden_size, config.expert_count
    yield TensorRule(f"model.layers.{layer}.input_layernorm.weight", FLOATS, (hidden,))
    yield TensorRule(f"model.layers.{layer}.post_attention_layernorm.weight", FLOATS, (hidden,))
    yield TensorRule(f"{moe_prefix(layer)}.gate.weight", FLOATS, (experts, hidden))
    yield TensorRule(f"{moe_prefix(layer)}.e_score_correction_bias", FLOATS, (experts,))


def _shared_expert(layer: int, config: ModelConfig) -> Iterator[TensorRule]:
    """Named as in the later MiniMax models; MiniMax-M2 itself has none."""
    size, prefix = config.shared_intermediate_size, f"{moe_prefix(layer)}.shared_experts"
    if size:
        yield from _affine(f"{prefix}.gate_proj", size, config.hidden_size, config=config)
        yield from _affine(f"{prefix}.up_proj", size, config.hidden_size, config=config)
        yield from _affine(f"{prefix}.down_proj", config.hidden_size, size, config=config)


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
