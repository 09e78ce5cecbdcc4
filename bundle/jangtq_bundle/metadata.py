"""The JSON of a bundle as the reference converter writes it. Knows no tensor data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jangtq_bundle.choices import PROFILES, parse_profile
from jangtq_bundle.vocabulary import (
    DEFAULT_SEED,
    WEIGHT_FORMAT,
    Layout,
    Projection,
    ProjectionBits,
)
from jangtq_proto.errors import ConfigurationError

AFFINE_BITS: Final = 8
AFFINE_GROUP_SIZE: Final = 64
PADDING_MULTIPLE: Final = 32
PADDING_BIAS: Final = -10000.0
"""Added to the router's score of a padding expert, so that it is never picked."""

_CAPABILITIES: Final[Mapping[str, object]] = {
    "reasoning_parser": "qwen3",
    "tool_parser": "minimax",
    "think_in_template": True,
    "supports_tools": True,
    "supports_thinking": True,
    "family": "minimax_m2",
    "modality": "text",
    "modalities": {"text": True, "vision": False, "audio": False, "video": False},
    "has_vision": False,
    "has_audio": False,
    "has_video": False,
    "cache_type": "kv",
}


@dataclass(frozen=True)
class WriteOptions:
    """How a bundle is written. `name` stands in jang_config.json as the source model."""

    name: str
    profile: str = "JANGTQ2"
    layout: Layout = Layout.PRESTACKED
    seed: int = DEFAULT_SEED
    shard_bytes: int = 1_000_000_000

    def __post_init__(self) -> None:
        try:
            _ = self.bits
        except ValueError as error:
            raise ConfigurationError(f"profile {self.profile!r}: {error}") from error
        if self.shard_bytes < 1:
            raise ConfigurationError(f"shard_bytes {self.shard_bytes}: allowed are 1 or more")

    @property
    def bits(self) -> ProjectionBits:
        """Those of the profile; JANGTQ_2_2_3 has 2, 2 and 3."""
        plain = self.profile.removeprefix("JANGTQ_").replace("_", "/")
        profile = parse_profile(self.profile if self.profile in PROFILES else plain)
        return ProjectionBits(gate=profile.gate, up=profile.up, down=profile.down)


def padded_count(expert_count: int) -> int:
    """The next multiple of 32, where routers run fastest."""
    return -(-expert_count // PADDING_MULTIPLE) * PADDING_MULTIPLE


def bundle_config(
    config: Mapping[str, object], options: WriteOptions, *, expert_count: int
) -> dict[str, object]:
    """config.json: the Hugging Face one with the format's members; `expert_count` includes padding."""
    bits = _mxtq_bits(options.bits)
    quantization = {
        "bits": AFFINE_BITS,
        "mode": "affine",
        "group_size": AFFINE_GROUP_SIZE,
        "routed_expert_bits": bits["routed_expert"],
        "mxtq_bits": bits,
    }
    kept = {name: value for name, value in config.items() if name != "quantization_config"}
    return kept | {
        "quantization": quantization,
        "mxtq_bits": bits,
        "weight_format": WEIGHT_FORMAT,
        "num_local_experts": expert_count,
    }


def jang_config(options: WriteOptions, *, original_expert_count: int) -> dict[str, object]:
    """jang_config.json."""
    bits = options.bits
    written: dict[str, object] = {
        "version": 2,
        "weight_format": WEIGHT_FORMAT,
        "profile": options.profile,
        "source_model": {"name": options.name, "org": "jangtq-cluster", "architecture": "minimax_m2"},
        "mxtq_seed": options.seed,
        "mxtq_bits": _mxtq_bits(bits),
        "quantization": {
            "method": "affine+mxtq",
            "group_size": AFFINE_GROUP_SIZE,
            "bits_default": bits.down,
        },
        "capabilities": dict(_CAPABILITIES),
    }
    if padded_count(original_expert_count) != original_expert_count:
        written["expert_padding"] = {
            "original_num_local_experts": original_expert_count,
            "padded_num_local_experts": padded_count(original_expert_count),
            "multiple": PADDING_MULTIPLE,
            "dummy_bias": PADDING_BIAS,
            "reason": "router decode speed alignment",
        }
    if options.layout is Layout.PRESTACKED:
        written["routed_expert_layout"] = options.layout.value
    return written


def encode_json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _mxtq_bits(bits: ProjectionBits) -> dict[str, object]:
    return {
        "routed_expert": bits.gate if bits.is_uniform else {p.value: bits.of(p) for p in Projection},
        "attention": AFFINE_BITS,
        "shared_expert": AFFINE_BITS,
        "embed_tokens": AFFINE_BITS,
        "lm_head": AFFINE_BITS,
        "norms_router_biases": 16,
    }
