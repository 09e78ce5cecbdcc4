"""The demo bundle: a random MiniMax-M2 model of a few megabytes, the same on every run. Serves nothing."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.byte_tokenizer import (
    BEGIN_OF_TEXT,
    END_OF_TURN,
    VOCABULARY_SIZE,
    token_id,
    tokenizer_files,
)
from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.vocabulary import moe_prefix
from jangtq_bundle.writing.writer import DenseModel, write_bundle
from jangtq_proto.command_line import CommandLine
from jangtq_proto.errors import JangtqError
from jangtq_proto.options import Option, Settings

NAME: Final = "jangtq-demo"
_SEED: Final = 20_250_101
_HIDDEN, _INTERMEDIATE, _LAYERS, _EXPERTS = 128, 96, 3, 256
_HEADS, _KEY_VALUE_HEADS, _HEAD_SIZE = 4, 2, 32

CONFIG: Final[Mapping[str, object]] = {
    "architectures": ["MiniMaxM2ForCausalLM"],
    "model_type": "minimax_m2",
    "bos_token_id": token_id(BEGIN_OF_TEXT),
    "eos_token_id": token_id(END_OF_TURN),
    "head_dim": _HEAD_SIZE,
    "hidden_act": "silu",
    "hidden_size": _HIDDEN,
    "intermediate_size": _INTERMEDIATE,
    "max_position_embeddings": 8192,
    "num_attention_heads": _HEADS,
    "num_experts_per_tok": 8,
    "num_hidden_layers": _LAYERS,
    "num_key_value_heads": _KEY_VALUE_HEADS,
    "num_local_experts": _EXPERTS,
    "rms_norm_eps": 1e-6,
    "rope_theta": 5_000_000,
    "rotary_dim": _HEAD_SIZE // 2,
    "scoring_func": "sigmoid",
    "shared_intermediate_size": 0,
    "tie_word_embeddings": False,
    "use_qk_norm": True,
    "use_routing_bias": True,
    "vocab_size": VOCABULARY_SIZE,
}


@dataclass(frozen=True)
class DemoBundleSettings(Settings):
    """Where to write it."""

    directory: Path = field(
        metadata=Option("directory", placeholder="DIR", help="a new or empty directory").metadata
    )


def write_demo_bundle(path: Path) -> None:
    """Write the bundle to a new or empty directory; takes seconds. Raises JangtqError."""
    model = DenseModel(CONFIG, _random_weights(), tokenizer_files())
    write_bundle(path, model, WriteOptions(NAME))


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m jangtq_bundle.demo DIR`."""
    program = "python -m jangtq_bundle.demo"
    line = CommandLine(
        program,
        DemoBundleSettings,
        description="Write the demo bundle.",
        examples=(f"{program} ~/demo-bundle",),
        arguments="DIR",
    )
    path = line.read(arguments)[DemoBundleSettings].directory
    try:
        write_demo_bundle(path)
    except JangtqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"demo bundle written to {path}")
    return 0


def _random_weights() -> dict[str, NDArray[np.float32]]:
    """Scaled so that hidden states keep their size, logits spread and the router uses many experts."""
    rng = np.random.default_rng(_SEED)
    weights = {
        "model.embed_tokens.weight": _normal(rng, VOCABULARY_SIZE, _HIDDEN, scale=1.0),
        "model.norm.weight": np.ones(_HIDDEN, dtype=np.float32),
        "lm_head.weight": _normal(rng, VOCABULARY_SIZE, _HIDDEN, scale=2.5 * _HIDDEN**-0.5),
    }
    for layer in range(_LAYERS):
        weights |= _attention_weights(rng, layer) | _moe_weights(rng, layer)
    return weights


def _attention_weights(rng: np.random.Generator, layer: int) -> dict[str, NDArray[np.float32]]:
    prefix = f"model.layers.{layer}"
    queries, keys = _HEADS * _HEAD_SIZE, _KEY_VALUE_HEADS * _HEAD_SIZE
    norms = {
        "input_layernorm": _HIDDEN,
        "post_attention_layernorm": _HIDDEN,
        "self_attn.q_norm": queries,
        "self_attn.k_norm": keys,
    }
    matrices = {"q_proj": (queries, _HIDDEN), "k_proj": (keys, _HIDDEN), "v_proj": (keys, _HIDDEN)}
    matrices["o_proj"] = (_HIDDEN, queries)
    return {f"{prefix}.{name}.weight": np.ones(size, dtype=np.float32) for name, size in norms.items()} | {
        f"{prefix}.self_attn.{name}.weight": _normal(rng, *shape, scale=shape[1] ** -0.5)
        for name, shape in matrices.items()
    }


def _moe_weights(rng: np.random.Generator, layer: int) -> dict[str, NDArray[np.float32]]:
    prefix, inward, outward = moe_prefix(layer), _HIDDEN**-0.5, 3 * _INTERMEDIATE**-0.5
    up_shape, down_shape = (_EXPERTS, _INTERMEDIATE, _HIDDEN), (_EXPERTS, _HIDDEN, _INTERMEDIATE)
    return {
        f"{prefix}.gate.weight": _normal(rng, _EXPERTS, _HIDDEN, scale=inward),
        f"{prefix}.e_score_correction_bias": _normal(rng, _EXPERTS, scale=0.05),
        f"{prefix}.switch_mlp.gate_proj.weight": _normal(rng, *up_shape, scale=inward),
        f"{prefix}.switch_mlp.up_proj.weight": _normal(rng, *up_shape, scale=inward),
        f"{prefix}.switch_mlp.down_proj.weight": _normal(rng, *down_shape, scale=outward),
    }


def _normal(rng: np.random.Generator, *shape: int, scale: float) -> NDArray[np.float32]:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)


if __name__ == "__main__":
    raise SystemExit(main())
