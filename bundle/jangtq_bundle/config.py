"""What a bundle's two configuration files say about the model. Opens no tensor file."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jangtq_bundle.declarations import declared_affine, declared_bits
from jangtq_bundle.json_files import Fields
from jangtq_bundle.vocabulary import (
    DEFAULT_SEED,
    PROFILE_BITS,
    WEIGHT_FORMAT,
    AffineFormat,
    Projection,
    ProjectionBits,
    profile_name,
)
from jangtq_proto.errors import BundleError

CONFIG = "config.json"
JANG_CONFIG = "jang_config.json"
USUAL_AFFINE = AffineFormat(bits=8, group_size=64)


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
    shared expert. context_length counts tokens; `end_tokens` end an answer. `matrix_formats` names the
    matrices whose format is not `affine`: None for one that is stored as plain numbers.
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
    end_tokens: tuple[int, ...] = ()
    matrix_formats: Mapping[str, AffineFormat | None] = field(default_factory=dict)

    def in_features(self, projection: Projection) -> int:
        return self.intermediate_size if projection is Projection.DOWN else self.hidden_size

    def out_features(self, projection: Projection) -> int:
        return self.hidden_size if projection is Projection.DOWN else self.intermediate_size

    def matrix_format(self, name: str) -> AffineFormat | None:
        """How a matrix outside the routed experts is stored. The router's is plain unless declared."""
        return self.matrix_formats.get(name, None if name.endswith(".gate") else self.affine)


def parse_config(config: Mapping[str, object], jang_config: Mapping[str, object]) -> ModelConfig:
    """Sizes from config.json, formats as both files declare them, which the tensors may correct.

    Raises BundleError naming file, member, found and expected.
    """
    model, jang = Fields(CONFIG, config), Fields(JANG_CONFIG, jang_config)
    _check_format(model, jang)
    expert_count = model.integer("num_local_experts", most=65_536)
    bits = next(
        (each.bits for each in declared_bits(config, jang_config) if each.bits), PROFILE_BITS["JANGTQ2"]
    )
    return ModelConfig(
        hidden_size=model.integer("hidden_size", most=1_048_576),
        intermediate_size=model.integer("intermediate_size", most=1_048_576),
        layer_count=model.integer("num_hidden_layers", most=4096),
        expert_count=expert_count,
        original_expert_count=_original_expert_count(jang, expert_count),
        experts_per_token=model.integer("num_experts_per_tok", most=expert_count),
        shared_intermediate_size=model.integer(
            "shared_intermediate_size", least=0, most=1_048_576, default=0
        ),
        vocabulary_size=model.integer("vocab_size", most=16_777_216),
        context_length=model.integer("max_position_embeddings"),
        attention=_attention(model),
        rms_norm_epsilon=model.number("rms_norm_eps"),
        ties_embeddings=model.flag("tie_word_embeddings", default=False),
        profile=profile_name(bits),
        bits=bits,
        seed=jang.integer("mxtq_seed", least=0, default=DEFAULT_SEED),
        affine=next((each.affine for each in declared_affine(config) if each.affine), USUAL_AFFINE),
        end_tokens=_end_tokens(config.get("eos_token_id")),
    )


def _end_tokens(said: object) -> tuple[int, ...]:
    tokens = said if isinstance(said, list) else [] if said is None else [said]
    if not all(type(token) is int and token >= 0 for token in tokens):
        raise BundleError(f"{CONFIG}: eos_token_id is {said!r:.80}, expected a token or a list of tokens")
    return tuple(tokens)


def _check_format(model: Fields, jang: Fields) -> None:
    for fields in (jang, model):
        if fields.text("weight_format", default=WEIGHT_FORMAT).lower() != WEIGHT_FORMAT:
            fields.require("weight_format", WEIGHT_FORMAT)
    _check_version(jang)
    if model.text("model_type") not in ("minimax_m2", "minimax"):
        raise BundleError(f"{CONFIG}: model_type is {model.text('model_type')!r}, expected 'minimax_m2'")
    if model.has("model_file"):  # mlx-lm would run it
        raise BundleError(f"{CONFIG}: model_file names a program, and a bundle may bring none")
    model.require("scoring_func", "sigmoid", default="sigmoid")
    model.require("hidden_act", "silu", default="silu")


def _check_version(jang: Fields) -> None:
    """Converters write 2, "2" or "2.0"."""
    found = jang.members.get("version")
    if found is not None and str(found).partition(".")[0] != "2":
        raise BundleError(f"{JANG_CONFIG}: version is {found!r:.80}, expected 2")


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
