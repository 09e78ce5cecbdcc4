"""Computes prompts one chunk at a time, in turns. Knows no batch.

Prompts are not batched: that needs padding, and padding would be routed to experts.
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
    """One computed chunk of a prompt; the last chunk brings the answer's first token."""

    uid: int
    rows: int
    done: int
    total: int
    cached: int
    first: TokenStep | None


@dataclass
class Prompt:
    """An unfinished prompt. Its KV holds the computed part; `turn` counts the rest."""

    sequence: TokenSequence
    kv: BatchCache
    turn: PromptTurn
    has_begun: bool = False

    @property
    def done(self) -> int:
        return self.kv.lengths[0]


class Prefilling:
    """All unfinished prompts."""

    def __init__(self, model: LanguageModel, *, stop_tokens: frozenset[int], chunk: ChunkSize) -> None:
        self._model = model
        self._stop_tokens = stop_tokens
        self._chunk = chunk
        self.prompts: dict[int, Prompt] = {}
        self.turn_of: int | None = None
        """The prompt whose chunk is being computed, or failed last."""
        self._has_warned = False

    def add(self, sequence: TokenSequence, kv: BatchCache) -> None:
        """Add a sequence; its KV may hold the beginning of the prompt, but not all of it."""
        remaining = len(sequence.tokens) - kv.lengths[0]
        self.prompts[sequence.uid] = Prompt(sequence, kv, PromptTurn(sequence.uid, remaining))

    def renew(self, prompt: Prompt, kv: BatchCache) -> None:
        """Replace the KV of a prompt that has not begun by one that holds more of it."""
        prompt.kv = kv
        prompt.turn.remaining = len(prompt.sequence.tokens) - prompt.done

    def first_turn(self) -> Prompt | None:
        """The prompt whose turn it is, if that is its first turn."""
        if not self.prompts:
            return None
        prompt = self.prompts[self._next_uid()]
        return None if prompt.has_begun else prompt

    def drop(self, uids: Collection[int]) -> None:
        """Remove prompts; unknown uids are ignored."""
        self.prompts = {uid: prompt for uid, prompt in self.prompts.items() if uid not in uids}

    def next(self, *, others_wait: bool, spent_seconds: float) -> PrefillStep | None:
        """Compute one chunk of the prompt whose turn it is; `others_wait` limits its time.

        A chunk that fails changes nothing. After its last chunk the prompt stays until it is dropped.
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
        """Warn if even the smallest chunks take longer than --prefill-ms."""
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
        (pick,) = pick_tokens(last_logits(self._model, inputs, prompt.kv), [Row(prompt.sequence.sampler)])
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
