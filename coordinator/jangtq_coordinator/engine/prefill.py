"""The prompts that go through the model, one chunk at a time and in turns. Knows no batch.

Together they would be padded, and the padding be routed to experts.
"""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass

import mlx.core as mx

from jangtq_coordinator.engine.chunk_size import SMALLEST, ChunkSize
from jangtq_coordinator.engine.loaded_model import LanguageModel, LastLogits
from jangtq_coordinator.engine.prefill_turns import PromptTurn, next_turn
from jangtq_coordinator.engine.sequence import TokenSequence, TokenStep
from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.sampling.sampler import Row, pick_tokens

_log = logging.getLogger("jangtq.engine")


@dataclass(frozen=True)
class PrefillStep:
    """A chunk of some rows of a prompt went through the model; the last brings the answer's first token."""

    uid: int
    rows: int
    done: int
    total: int
    cached: int
    first: TokenStep | None


@dataclass
class Prompt:
    """A prompt under way; what its KV holds is done, and `turn` counts what remains."""

    sequence: TokenSequence
    kv: BatchCache
    turn: PromptTurn
    has_begun: bool = False

    @property
    def done(self) -> int:
        return self.kv.lengths[0]


class Prefilling:
    """All prompts under way."""

    def __init__(self, model: LanguageModel, *, stop_tokens: frozenset[int], chunk: ChunkSize) -> None:
        self._model = model
        self._stop_tokens = stop_tokens
        self._chunk = chunk
        self.prompts: dict[int, Prompt] = {}
        self.turn_of: int | None = None
        """Whose chunk is being computed, or failed last."""
        self._has_warned = False

    def add(self, sequence: TokenSequence, kv: BatchCache) -> None:
        """Begin with a sequence whose KV may hold its beginning already, but not all."""
        remaining = len(sequence.tokens) - kv.lengths[0]
        self.prompts[sequence.uid] = Prompt(sequence, kv, PromptTurn(sequence.uid, remaining))

    def renew(self, prompt: Prompt, kv: BatchCache) -> None:
        """Give a prompt that has not begun KV that holds more of it."""
        prompt.kv = kv
        prompt.turn.remaining = len(prompt.sequence.tokens) - prompt.done

    def first_turn(self) -> Prompt | None:
        """The prompt whose turn it is, where that is its first one."""
        if not self.prompts:
            return None
        prompt = self.prompts[self._next_uid()]
        return None if prompt.has_begun else prompt

    def drop(self, uids: Collection[int]) -> None:
        """Forget prompts; unknown uids are left alone."""
        self.prompts = {uid: prompt for uid, prompt in self.prompts.items() if uid not in uids}

    def next(self, *, others_wait: bool, spent_seconds: float) -> PrefillStep | None:
        """One chunk of the prompt whose turn it is; `others_wait` bounds its time, of which some is spent.

        When it fails, everything is as before it. After the last chunk the prompt is still here.
        """
        if not self.prompts:
            return None
        self.turn_of = self._next_uid()
        prompt = self.prompts[self.turn_of]
        prompt.has_begun = True
        before, total = prompt.done, len(prompt.sequence.tokens)
        rows = self._chunk.rows(before, others_wait=others_wait, spent_seconds=spent_seconds)
        chunk = prompt.sequence.tokens[before : before + rows]
        started = time.perf_counter()
        try:
            first = self._compute(prompt, chunk, is_last=before + len(chunk) == total)
        except BaseException:
            prompt.kv.cut([before])
            raise
        self._chunk.record(len(chunk), before, seconds=time.perf_counter() - started)
        if others_wait:
            self._warn_once()
        self._pass_turn(prompt, len(chunk))
        cached = prompt.sequence.cached_tokens
        return PrefillStep(
            self.turn_of, rows=len(chunk), done=prompt.done, total=total, cached=cached, first=first
        )

    def _warn_once(self) -> None:
        """Where no chunk is small enough for the time that it may take beside sequences that decode."""
        seconds = self._chunk.out_of_reach
        if seconds is None or self._has_warned:
            return
        self._has_warned = True
        _log.warning(
            "prompts hold up other answers longer than --prefill-ms allows: even chunks of %d tokens take "
            "%.0f ms, allowed are %.0f; more or faster workers, more --threads or --transport express cut "
            "them; where there are none, a larger --prefill-ms makes prompts faster",
            SMALLEST,
            seconds * 1000,
            self._chunk.limit_seconds * 1000,
        )

    def _next_uid(self) -> int:
        return next_turn([prompt.turn for prompt in self.prompts.values()]).uid

    def _compute(self, prompt: Prompt, chunk: list[int], *, is_last: bool) -> TokenStep | None:
        inputs = mx.array([chunk])
        if not is_last:
            self._model(inputs, cache=list(prompt.kv.layers))
            prompt.kv.evaluate()
            return None
        (pick,) = pick_tokens(last_logits(self._model, inputs, prompt.kv), [Row(prompt.sequence.picker)])
        return prompt.sequence.take(pick, self._stop_tokens)

    def _pass_turn(self, prompt: Prompt, rows: int) -> None:
        for other in self.prompts.values():
            other.turn.waited += rows
        prompt.turn.waited = 0
        prompt.turn.remaining -= rows


def last_logits(model: LanguageModel, inputs: mx.array, kv: BatchCache) -> mx.array:
    """inputs: [rows, tokens] ids; returns logits [rows, vocabulary] of the last position."""
    if isinstance(model, LastLogits):
        return model.last_logits(inputs, cache=list(kv.layers))
    return model(inputs, cache=list(kv.layers))[:, -1, :]
