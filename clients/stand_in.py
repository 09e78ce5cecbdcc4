"""A coordinator whose model is the stand-in: `python -m clients.stand_in`. Everything but the model is real.

It prints its base URL and serves until its standard input ends.
"""

from typing import Any

import mlx.core as mx
import numpy as np

from clients.agent_script import reply
from jangtq_bundle.byte_tokenizer import VOCABULARY_SIZE
from jangtq_coordinator.api.app import ApiSettings, create_app
from jangtq_coordinator.api.chat.served_names import ServedNames
from jangtq_coordinator.cli.serve import listen, run_server, server_config
from jangtq_coordinator.config import ServeSettings
from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.engine_config import EngineSettings
from tests.support.tiny_model import THINKING, TURN, ScriptedModel, loader

_CONTEXT = 400_000
_MOST_DRAFTED = 32


class StandIn(ScriptedModel):
    """ScriptedModel for prompts of 100,000 tokens, as agents have them: it reads each once."""

    def __call__(self, inputs: mx.array, *, cache: list[Any]) -> mx.array:
        if inputs.shape[1] <= _MOST_DRAFTED:
            return super().__call__(inputs, cache=cache)
        self._remember(inputs, cache)
        return mx.zeros((*inputs.shape, 1))

    def last_logits(self, inputs: mx.array, *, cache: list[Any]) -> mx.array:
        """[1, vocabulary] of the last position of a prompt."""
        ids = self._remember(inputs, cache)[0, 0, :, :4] @ mx.array([1.0, 16, 256, 4096])
        tokens = [int(token) for token in np.array(ids.astype(mx.int32))]
        token = self._next(tokens)
        return 50.0 * (mx.arange(VOCABULARY_SIZE) == token)[None]

    def _remember(self, inputs: mx.array, cache: list[Any]) -> mx.array:
        digits = (inputs[:, None, :, None] // mx.array([1, 16, 256, 4096])) % 16
        keys = mx.broadcast_to(
            mx.tile(digits, 4).astype(mx.float32), (inputs.shape[0], 2, inputs.shape[1], 16)
        )
        for layer in cache:
            fetched: mx.array = layer.update_and_fetch(keys, keys)[0]
        return fetched

    def _next(self, tokens: list[int]) -> int:
        end = len(tokens) - len(TURN)
        while end >= 0 and tuple(tokens[end : end + len(TURN)]) != TURN:
            end -= 1
        if end < 0:
            return 0
        end += len(TURN)
        end += len(THINKING) if tuple(tokens[end : end + len(THINKING)]) == THINKING else 0
        script = self._script(tuple(tokens[:end]))
        return script[min(len(tokens) - end, len(script) - 1)]


def main() -> None:
    engine = Engine(
        loader(new_model=lambda: StandIn(reply), context_length=_CONTEXT),
        settings=EngineSettings(prefill_rows=4096, batch_size=4),
    )
    engine.start()
    aliases = ("stand-in", "gpt-5", "claude-sonnet-4-5", "claude-haiku-4-5")
    with listen(ServeSettings(port=0)) as listener:
        listener.listen()
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        app = create_app(engine, settings=ApiSettings(names=ServedNames(aliases)))
        run_server(server_config(app, ServeSettings()), listener, engine=engine, watch_stdin=True)
    engine.stop()


if __name__ == "__main__":
    main()
