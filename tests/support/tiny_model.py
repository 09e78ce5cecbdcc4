"""A stock mlx-lm MiniMax of some kilobytes with random float32 weights, and the demo tokenizer, for tests."""

import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from jangtq_bundle.byte_tokenizer import VOCABULARY_SIZE, tokenizer_files
from jangtq_coordinator.engine.loaded_model import LoadedModel
from jangtq_coordinator.kv.budget import KvShape
from jangtq_coordinator.mlx_lm import TokenizerWrapper, load_tokenizer, minimax

CONTEXT_LENGTH = 512
KV_SHAPE = KvShape(layer_count=2, head_count=2, head_size=16)
MODEL_NAME = "tiny-minimax"


def make_model(*, head_size: int = 16) -> minimax.Model:
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
        head_dim=head_size,
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


@cache
def load_tokenizer_with_template(name: str = "MiniMax-M2.jinja") -> TokenizerWrapper:
    """With one of the chat templates in the folder beside this file."""
    with tempfile.TemporaryDirectory() as directory:
        folder = write_tokenizer(Path(directory))
        (folder / "chat_template.jinja").write_text((Path(__file__).parent / "templates" / name).read_text())
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config.pop("chat_template", None)
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return load_tokenizer(folder)


def write_tokenizer(directory: Path) -> Path:
    for name, content in tokenizer_files().items():
        (directory / name).write_bytes(content)
    return directory


class ProbedModel:
    """The tiny model that counts its passes, and stops or fails in the middle of one when told to."""

    def __init__(self, *, head_size: int = 16) -> None:
        self._model = make_model(head_size=head_size)
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
    """Says what `reply` answers to the text of a prompt, always by its likeliest tokens.

    It reads the text so far out of its KV, where each key is the id of its token: what batching, the prompt
    cache or guessed tokens do to the KV shows in what it says.
    """

    def __init__(self, reply: Callable[[str], str]) -> None:
        super().__init__()
        self._reply = reply
        self._script = cache(self._new_script)

    def __call__(self, inputs: mx.array, *, cache: list[Any]) -> mx.array:
        self.gate.wait()
        self.passes.append(inputs.shape)
        digits = (inputs[:, None, :, None] // mx.array([1, 16, 256, 4096])) % 16
        keys = mx.broadcast_to(
            mx.tile(digits, 4).astype(mx.float32), (inputs.shape[0], 2, inputs.shape[1], 16)
        )
        for layer in cache:
            fetched, _ = layer.update_and_fetch(keys, keys)
        if self.failures:
            raise self.failures.pop(0)
        ids = (fetched[:, 0, :, :4] @ mx.array([1.0, 16, 256, 4096])).astype(mx.int32).tolist()
        rows = zip(ids, cache[0].lengths, strict=True)
        count = inputs.shape[1]
        nexts = [[self._next(row[: end - count + at + 1]) for at in range(count)] for row, end in rows]
        return 50.0 * (mx.array(nexts)[..., None] == mx.arange(VOCABULARY_SIZE))

    def _next(self, tokens: list[int]) -> int:
        """The token after these; any where a prompt is not over yet."""
        starts = [at for at in range(len(tokens)) if tuple(tokens[at : at + len(TURN)]) == TURN]
        if not starts:
            return 0
        end = starts[-1] + len(TURN)
        end += len(THINKING) if tuple(tokens[end : end + len(THINKING)]) == THINKING else 0
        script = self._script(tuple(tokens[:end]))
        return script[min(len(tokens) - end, len(script) - 1)]

    def _new_script(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        text = str(load_tiny_tokenizer().decode(list(prompt)))
        return encoded(f"{self._reply(text)}[e~[")


def encoded(text: str) -> tuple[int, ...]:
    return tuple(load_tiny_tokenizer().encode(text, add_special_tokens=False))


TURN = encoded("]~b]ai\n")
THINKING = encoded("<think>\n")


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
