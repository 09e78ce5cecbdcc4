"""The sizes of the demo model and the settings of its training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class ModelSize:
    """A MiniMax-M2 model's sizes, named as in its config.json."""

    hidden_size: int = 256
    intermediate_size: int = 64
    num_hidden_layers: int = 3
    num_local_experts: int = 256
    num_experts_per_tok: int = 8
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 32
    rotary_dim: int = 16
    vocab_size: int = 1152
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6

    def config(self, *, begin_of_text: int, end_of_turn: int) -> Mapping[str, object]:
        """config.json as Hugging Face names its members."""
        return {
            "architectures": ["MiniMaxM2ForCausalLM"],
            "model_type": "minimax_m2",
            "bos_token_id": begin_of_text,
            "eos_token_id": end_of_turn,
            "hidden_act": "silu",
            "max_position_embeddings": 4096,
            "scoring_func": "sigmoid",
            "shared_intermediate_size": 0,
            "tie_word_embeddings": False,
            "use_qk_norm": True,
            "use_routing_bias": True,
            **vars(self),
        }


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast the model learns; the defaults are for a corpus with long talks.

    Learning rates rise over `warmup_steps`, then fall along a cosine to `end_rate` of their peak. The last
    `quantized_steps` run with the quantizer in the loop, from `quantized_rate` down to zero.
    `bias_rate` is the step of the router's correction bias, in units of the score.
    """

    seed: int = 20_250_101
    row_length: int = 4096
    rows: int = 10
    float_steps: int = 3500
    quantized_steps: int = 1580
    warmup_steps: int = 200
    peak_rate: float = 2e-3
    end_rate: float = 0.05
    quantized_rate: float = 6e-4
    weight_decay: float = 0.05
    bias_rate: float = 1e-3
    profile: str = "JANGTQ2"

    def __post_init__(self) -> None:
        for name in ("row_length", "rows", "warmup_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: allowed are 1 or more")
        for name in ("float_steps", "quantized_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)}: allowed are 0 or more")


TINY: Final = ModelSize(
    hidden_size=64,
    intermediate_size=32,
    num_hidden_layers=2,
    num_local_experts=16,
    num_experts_per_tok=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    vocab_size=512,
)
"""A model that trains in seconds, for tests."""
