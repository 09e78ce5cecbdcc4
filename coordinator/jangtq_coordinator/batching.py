"""mlx-lm's continuous batching made eager: each token leaves in the pass that made it, and no pass is wasted.

Stock batching emits a token one pass late, spends a pass on the last prompt token and one after the last
answer token; with experts behind a network each of these is a full round of exchanges.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from jangtq_coordinator.events import FinishReason
from jangtq_coordinator.loaded import LanguageModel, LastLogits
from jangtq_coordinator.mlx_lm_import import BatchGenerator, GenerationBatch, PromptProcessingBatch
from jangtq_coordinator.picking import Pick, Picker, Row, TokenLogprobs, pick_tokens

_CLEAR_CACHE_STEPS = 512


@dataclass(frozen=True)
class TokenStep:
    """One sequence's part of a pass: its next token, or why it has none."""

    uid: int
    token: int
    finish_reason: FinishReason | None = None
    failure: Exception | None = None
    logprobs: TokenLogprobs | None = None


@dataclass(frozen=True)
class PrefillStep:
    """One chunk of a prompt went through the model; the last chunk brings the answer's first token."""

    uid: int
    done: int
    total: int
    first: TokenStep | None


@dataclass
class _Prompt:
    tokens: list[int]
    done: int = 0

    def take(self, count: int) -> list[int]:
        """The next tokens, `count` at most."""
        chunk = self.tokens[self.done : self.done + count]
        self.done += len(chunk)
        return chunk


class EagerGenerationBatch(GenerationBatch):
    """The sequences that decode together. Each one's picker stands where stock has its sampler."""

    def _step(self) -> tuple[list[int], list[mx.array]]:
        """Called by the stock constructor to run one pass ahead; here nothing runs ahead."""
        return [], []

    def next(self) -> list[TokenStep]:
        """One pass and one token for every sequence; those that ended are gone afterwards."""
        if not self.uids:
            return []
        inputs = self._next_tokens
        for tokens, token in zip(self.tokens, np.array(inputs), strict=True):
            tokens.append(int(token))
        return self.take(self.model(inputs[:, None], cache=self.prompt_cache)[:, -1, :])

    def take(self, logits: mx.array) -> list[TokenStep]:
        """Pick from logits [sequences, vocabulary] and keep the sequences that go on."""
        picks = pick_tokens(logits, [Row(picker) for picker in self.samplers])
        steps = [self._judge(row, pick) for row, pick in enumerate(picks)]
        self._next_tokens = mx.array([pick.token for pick in picks], dtype=mx.uint32)
        self._next_logprobs = [None] * len(picks)
        going_on = [row for row, step in enumerate(steps) if not (step.finish_reason or step.failure)]
        if len(going_on) < len(steps):
            self.filter(going_on)
        return steps

    def _judge(self, row: int, pick: Pick) -> TokenStep:
        self._num_tokens[row] += 1
        uid, token = self.uids[row], pick.token
        if pick.failure is not None:
            return TokenStep(uid, token, failure=pick.failure)
        self.samplers[row].take(token)
        if self._matchers[row].advance(token):
            return TokenStep(uid, token, "stop")
        ended = self._num_tokens[row] >= self.max_tokens[row]
        return TokenStep(uid, token, "length" if ended else None, logprobs=pick.logprobs)


class EagerBatchGenerator(BatchGenerator):
    """Sequences in three stages: waiting, one in prefill, and those that decode together.

    Prompts go one at a time, since stock batching pads them and the padding would be routed to experts.
    Every method must be called from one thread.
    """

    _prompt_batch: PromptProcessingBatch
    _currently_processing: list[_Prompt]

    def __init__(
        self, model: LanguageModel, *, stop_tokens: frozenset[int], batch_size: int, prefill_rows: int
    ) -> None:
        super().__init__(
            model,
            stop_tokens=[(token,) for token in sorted(stop_tokens)],
            completion_batch_size=batch_size,
            prefill_batch_size=1,
            prefill_step_size=prefill_rows,
        )
        self._generation_batch = EagerGenerationBatch.empty(model, self.sampler)

    def add(self, prompt: Sequence[int], *, max_tokens: int, picker: Picker) -> int:
        """Let a sequence wait for its turn; returns its uid."""
        (uid,) = self.insert([list(prompt)], max_tokens=[max_tokens], samplers=[picker])
        return int(uid)

    def decode(self) -> list[TokenStep]:
        """One pass for all decoding sequences. When it raises, `drop_decoding` is the only way on."""
        with mx.stream(self._stream):
            steps: list[TokenStep] = self._generation_batch.next()
        self._counters.generation_steps += 1
        if self._counters.generation_steps % _CLEAR_CACHE_STEPS == 0:
            mx.clear_cache()
        return steps

    def prefill(self) -> PrefillStep | None:
        """One chunk of the oldest prompt, where there is one and room to decode it afterwards.

        When it raises, `drop_prefill` is the only way on; sequences that decode are not touched.
        """
        with mx.stream(self._stream):
            if not self._currently_processing and not self._begin_prompt():
                return None
            (prompt,), (uid,) = self._currently_processing, self._prompt_batch.uids
            chunk = prompt.take(self.prefill_step_size)
            if prompt.done < len(prompt.tokens):
                self._prompt_batch.prompt([chunk])
                return PrefillStep(uid, prompt.done, len(prompt.tokens), None)
            return PrefillStep(uid, prompt.done, prompt.done, self._finish_prompt(chunk))

    def forget(self, uids: Sequence[int]) -> None:
        """Take sequences out of whatever stage they are in; unknown uids are left alone."""
        self.remove(uids)

    def drop_decoding(self) -> list[int]:
        """Forget the decoding sequences: a failed pass half extended their KV. Returns their uids."""
        uids = list(self._generation_batch.uids)
        self._generation_batch = EagerGenerationBatch.empty(self.model, self.sampler)
        return uids

    def drop_prefill(self) -> list[int]:
        """Forget the prompt in prefill; returns its uid."""
        uids = list(self._prompt_batch.uids)
        self.forget(uids)
        return uids

    def _next(self) -> tuple[list[PrefillStep], list[TokenStep]]:
        """What the stock `next` runs."""
        steps = self.decode()
        prefill = self.prefill()
        return ([] if prefill is None else [prefill]), steps

    def _begin_prompt(self) -> bool:
        if not self._unprocessed_sequences or len(self._generation_batch) >= self.completion_batch_size:
            return False
        # Stock keeps the last token in a segment of its own; here it goes with the last chunk.
        segments: list[list[int]] = self._unprocessed_sequences[0][1]
        self._prompt_batch.extend(self._make_batch(1))
        self._currently_processing = [_Prompt([token for segment in segments for token in segment])]
        return True

    def _finish_prompt(self, chunk: list[int]) -> TokenStep:
        """The prompt's last chunk and the answer's first token in one pass."""
        batch = self._prompt_batch
        for tokens in batch.tokens:
            tokens += chunk
        logits = last_logits(self.model, mx.array([chunk]), batch.prompt_cache)
        decoding = EagerGenerationBatch(
            self.model,
            batch.uids,
            None,
            batch.prompt_cache,
            batch.tokens,
            batch.samplers,
            batch.fallback_sampler,
            batch.logits_processors,
            batch.stop_sequences,
            batch.max_tokens,
        )
        (step,) = decoding.take(logits)
        self._prompt_batch = PromptProcessingBatch.empty(self.model, self.sampler, self.prefill_step_size)
        self._currently_processing = []
        self._generation_batch.extend(decoding)
        return step


def last_logits(model: LanguageModel, inputs: mx.array, cache: list[object]) -> mx.array:
    """inputs: [rows, tokens] ids; returns logits [rows, vocabulary] of the last position."""
    if isinstance(model, LastLogits):
        return model.last_logits(inputs, cache=cache)
    return model(inputs, cache=cache)[:, -1, :]
