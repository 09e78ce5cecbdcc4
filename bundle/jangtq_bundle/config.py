"""What a bundle's two configuration files say about the model. Opens no tensor file."""

from collections.abc import Mapping
from dataclasses import dataclass

from jangtq_bundle.json_files import Fields
from jangtq_bundle.vocabulary import (
    ALLOWED_BITS,
    DEFAULT_SEED,
    PROFILE_ALIASES,
    PROFILE_BITS,
    WEIGHT_FORMAT,
    Projection,
    ProjectionBits,
)
from jangtq_proto.errors import BundleError

CONFIG = "config.json"
JANG_CONFIG = "jang_config.json"
AFFINE_GROUP_SIZES = (32, 64, 128)


@dataclass(frozen=True)
class AffineFormat:
    """How MLX stores the matrices that are not routed experts."""

    bits: int
    group_size: int


@dataclass(frozen=True)
class AttentionSizes:
    """Heads and positions of the attention blocks."""

    head_count: int
    key_value_head_count: int
    head_size: int
    rotary_size: int
    rope_theta: float
    uses_qk_norm: bool

    @property
    def query_size(self) -> int:
        return self.head_count * self.head_size

    @property
    def key_value_size(self) -> int:
        return self.key_value_head_count * self.head_size


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of a MiniMax-M2 model and the format of its weights.

    expert_count includes padding; original_expert_count does not. shared_intermediate_size is 0 without a
    shared expert. context_length counts tokens.
    """

    hidden_size: int
    intermediate_size: int
    layer_count: int
    expert_count: int
    original_expert_count: int
    experts_per_token: int
    shared_intermediate_size: int
    vocabulary_size: int
    context_length: int
    attention: AttentionSizes
    rms_norm_epsilon: float
    ties_embeddings: bool
    profile: str
    bits: ProjectionBits
    seed: int
    affine: AffineFormat
    declared_layout: str | None

    def in_features(self, projection: Projection) -> int:
        return self.intermediate_size if projection is Projection.DOWN else self.hidden_size

    def out_features(self, projection: Projection) -> int:
        return self.hidden_size if projection is Projection.DOWN else self.intermediate_size


def parse_config(config: Mapping[str, object], jang_config: Mapping[str, object]) -> ModelConfig:
    """Check both files against each other. Raises BundleError naming file, member, found and expected."""
    model, jang = Fields(CONFIG, config), Fields(JANG_CONFIG, jang_config)
    _check_format(model, jang)
    profile = _profile(jang)
    expert_count = model.integer("num_local_experts", most=65_536)
    parsed = ModelConfig(
        hidden_size=model.integer("hidden_size", most=1_048_576),
        intermediate_size=model.integer("intermediate_size", most=1_048_576),
        layer_count=model.integer("num_hidden_layers", most=4096),
        expert_count=expert_count,
        original_expert_count=_original_expert_count(jang, expert_count),
        experts_per_token=model.integer("num_experts_per_tok", most=expert_count),
        shared_intermediate_size=model.integer("shared_intermediate_size", least=0, most=1_048_576),
        vocabulary_size=model.integer("vocab_size", most=16_777_216),
        context_length=model.integer("max_position_embeddings"),
        attention=_attention(model),
        rms_norm_epsilon=model.number("rms_norm_eps"),
        ties_embeddings=model.flag("tie_word_embeddings", default=False),
        profile=profile,
        bits=_bits(model, jang, profile=profile),
        seed=jang.integer("mxtq_seed", least=0, default=DEFAULT_SEED),
        affine=_affine(model),
        declared_layout=jang.text("routed_expert_layout") if jang.has("routed_expert_layout") else None,
    )
    _check_group_size(parsed)
    return parsed


def _check_format(model: Fields, jang: Fields) -> None:
    jang.require("weight_format", WEIGHT_FORMAT)
    model.require("weight_format", WEIGHT_FORMAT, default=WEIGHT_FORMAT)
    jang.integer("version", least=2, most=2, default=2)
    if model.text("model_type") not in ("minimax_m2", "minimax"):
        raise BundleError(f"{CONFIG}: model_type is {model.text('model_type')!r}, expected 'minimax_m2'")
    if model.has("model_file"):  # mlx-lm would run it
        raise BundleError(f"{CONFIG}: model_file names a program, and a bundle may bring none")
    model.require("scoring_func", "sigmoid", default="sigmoid")
    model.require("hidden_act", "silu", default="silu")


def _profile(jang: Fields) -> str:
    found = jang.text("profile")
    profile = PROFILE_ALIASES.get(found.upper(), found.upper())
    if profile not in PROFILE_BITS:
        raise BundleError(f"{JANG_CONFIG}: profile is {found!r}, allowed are {', '.join(PROFILE_BITS)}")
    return profile


def _bits(model: Fields, jang: Fields, *, profile: str) -> ProjectionBits:
    declared = [
        _routed_bits(fields.child("mxtq_bits")) for fields in (jang, model) if fields.has("mxtq_bits")
    ]
    if not declared:
        raise BundleError(f"{JANG_CONFIG}: mxtq_bits is missing, expected the bits of routed_expert")
    if declared[0] != declared[-1]:
        raise BundleError(
            f"{CONFIG}: mxtq_bits of routed_expert are {declared[-1]}, {JANG_CONFIG} says {declared[0]}"
        )
    if declared[0] != PROFILE_BITS[profile]:
        raise BundleError(
            f"{JANG_CONFIG}: mxtq_bits of routed_expert are {declared[0]}, "
            f"profile {profile} has {PROFILE_BITS[profile]}"
        )
    return declared[0]


def _routed_bits(bits: Fields) -> ProjectionBits:
    least, most = ALLOWED_BITS[0], ALLOWED_BITS[-1]
    if not isinstance(bits.members.get("routed_expert"), dict):
        return ProjectionBits(*[bits.integer("routed_expert", least=least, most=most)] * 3)
    routed = bits.child("routed_expert")
    return ProjectionBits(
        *(routed.integer(name, least=least, most=most) for name in ("gate_proj", "up_proj", "down_proj"))
    )


def _original_expert_count(jang: Fields, expert_count: int) -> int:
    if not jang.has("expert_padding"):
        return expert_count
    padding = jang.child("expert_padding")
    padded = padding.integer("padded_num_local_experts")
    if padded != expert_count:
        raise BundleError(
            f"{JANG_CONFIG}: expert_padding says {padded} experts with padding, "
            f"{CONFIG} has num_local_experts {expert_count}"
        )
    return padding.integer("original_num_local_experts", most=expert_count)


def _attention(model: Fields) -> AttentionSizes:
    head_count = model.integer("num_attention_heads", most=65_536)
    hidden_size = model.integer("hidden_size", most=1_048_576)
    head_size = model.integer("head_dim", most=65_536, default=max(1, hidden_size // head_count))
    sizes = AttentionSizes(
        head_count=head_count,
        key_value_head_count=model.integer("num_key_value_heads", most=head_count),
        head_size=head_size,
        rotary_size=model.integer("rotary_dim", most=head_size),
        rope_theta=model.number("rope_theta"),
        uses_qk_norm=model.flag("use_qk_norm", default=True),
    )
    if head_count % sizes.key_value_head_count:
        raise BundleError(
            f"{CONFIG}: num_attention_heads is {head_count}, "
            f"expected a multiple of num_key_value_heads {sizes.key_value_head_count}"
        )
    return sizes


def _affine(model: Fields) -> AffineFormat:
    quantization = model.child("quantization")
    quantization.require("mode", "affine", default="affine")
    bits, group_size = quantization.integer("bits"), quantization.integer("group_size")
    if bits not in (4, 8):
        raise BundleError(f"{quantization.source}: bits is {bits}, allowed are 4 and 8")
    if group_size not in AFFINE_GROUP_SIZES:
        raise BundleError(
            f"{quantization.source}: group_size is {group_size}, allowed are {AFFINE_GROUP_SIZES}"
        )
    return AffineFormat(bits, group_size)


def _check_group_size(config: ModelConfig) -> None:
    group_size = config.affine.group_size
    rows = {
        "hidden_size": config.hidden_size,
        "num_attention_heads * head_dim": config.attention.query_size,
        "shared_intermediate_size": config.shared_intermediate_size,
    }
    for name, size in rows.items():
        if size % group_size:
            raise BundleError(
                f"{CONFIG}: {name} is {size}, expected a multiple of the quantization group {group_size}"
            )
