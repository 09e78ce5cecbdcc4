"""A stock mlx-lm MiniMax of some kilobytes with random float32 weights, and the demo tokenizer, for tests."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_map

from jangtq_bundle.byte_tokenizer import VOCABULARY_SIZE, tokenizer_files
from jangtq_coordinator.kv_memory import KvShape
from jangtq_coordinator.loaded import LoadedModel
from jangtq_coordinator.mlx_lm_import import TokenizerWrapper, load_tokenizer, minimax

CONTEXT_LENGTH = 512
KV_SHAPE = KvShape(layer_count=2, head_count=2, head_size=16)
MODEL_NAME = "tiny-minimax"


def make_model() -> minimax.Model:
    """The same weights at every call, evaluated in the calling thread."""
    args = minimax.ModelArgs(
        model_type="minimax",
        hidden_size=64,
        intermediate_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        num_experts_per_tok=2,
        num_local_experts=16,
        shared_intermediate_size=0,
        num_hidden_layers=2,
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        rotary_dim=8,
        vocab_size=VOCABULARY_SIZE,
        head_dim=16,
    )
    model = minimax.Model(args)
    keys = iter(mx.random.split(mx.random.key(7), 1000))
    # Larger than usual, so that the likeliest token is clearly ahead.
    drawn = tree_map(lambda p: 0.3 * mx.random.normal(p.shape, key=next(keys)), model.parameters())
    model.update(drawn)
    mx.eval(model.parameters())
    model.eval()
    return model


@cache
def load_tiny_tokenizer() -> TokenizerWrapper:
    with tempfile.TemporaryDirectory() as directory:
        return load_tokenizer(write_tokenizer(Path(directory)))


def write_tokenizer(directory: Path) -> Path:
    for name, content in tokenizer_files().items():
        (directory / name).write_bytes(content)
    return directory


class ProbedModel:
    """The tiny model that counts its passes, and stops or fails in the middle of one when told to."""

    def __init__(self) -> None:
        self._model = make_model()
        self.layers = self._model.layers
        self.passes: list[tuple[int, ...]] = []
        self.failures: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, inputs: mx.array, *, cache: list[object]) -> mx.array:
        self.gate.wait()
        self.passes.append(inputs.shape)
        logits: mx.array = self._model(inputs, cache=cache)
        if self.failures:
            # The caches are extended already, as when a later layer loses its worker.
            raise self.failures.pop(0)
        mx.eval(logits)
        return logits


class ScriptedModel(ProbedModel):
    """Answers every prompt by the same tokens; for one request at a time and likeliest tokens only."""

    def __init__(self, script: Sequence[int]) -> None:
        super().__init__()
        self._script = script
        self._next = 0

    def __call__(self, inputs: mx.array, *, cache: list[object]) -> mx.array:
        logits = super().__call__(inputs, cache=cache)
        # Only a prompt has several tokens in one pass.
        self._next = 0 if inputs.shape[1] > 1 else self._next + 1
        return mx.broadcast_to(mx.arange(logits.shape[-1]) == self._script[self._next], logits.shape)


def loader(
    probe: list[ProbedModel] | None = None,
    *,
    new_model: Callable[[], ProbedModel] = ProbedModel,
    **changes: object,
) -> Callable[[], LoadedModel]:
    """A `load` for the engine, which puts the model it made into `probe`."""

    def load() -> LoadedModel:
        model = new_model()
        if probe is not None:
            probe.append(model)
        loaded = LoadedModel(
            model,
            load_tiny_tokenizer(),
            MODEL_NAME,
            CONTEXT_LENGTH,
            kv_shape=KV_SHAPE,
            fingerprint="0123456789abcdef",
        )
        return replace(loaded, **changes)  # type: ignore[arg-type]

    return load
