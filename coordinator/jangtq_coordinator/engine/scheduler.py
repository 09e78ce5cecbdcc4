"""Continuous batching: sequences wait for memory, compute their prompts in turns, then decode together.

Each token is emitted by the pass that computed it, and no pass is wasted. mlx-lm's own batching emits a token
one pass late, and spends a pass on the last prompt token and one after the last answer token; with experts
behind a network each of these passes is a full round of exchanges.
"""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

import mlx.core as mx

from jangtq_coordinator.engine.chunk_size import ChunkSize
from jangtq_coordinator.engine.decode import DecodingBatch, Draft
from jangtq_coordinator.engine.engine_config import EngineSettings, Speculation
from jangtq_coordinator.engine.kv_pool import KvPool
from jangtq_coordinator.engine.loaded_model import LanguageModel
from jangtq_coordinator.engine.prefill import Prefilling, PrefillStep
from jangtq_coordinator.engine.sequence import TokenSequence, TokenStep
from jangtq_coordinator.engine.speculator import MAX_DRAFT, Speculator
from jangtq_coordinator.engine.stats import EngineCounters, EngineStats
from jangtq_coordinator.engine.wait_queue import WaitQueue
from jangtq_coordinator.kv.prefix_cache import PrefixCache
from jangtq_coordinator.kv.storage import KvStorage
from jangtq_coordinator.mlx_lm import maybe_set_recommended_wired_limit
from jangtq_coordinator.sampling.sampler import SequenceSampler

_CLEAR_CACHE_PASSES: Final = 512


class Scheduler:
    """Owns all sequences. Every method must be called from one thread."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        stop_tokens: frozenset[int],
        settings: EngineSettings,
        storage: KvStorage,
        kept: PrefixCache,
    ) -> None:
        """`kept` is the prefix cache; it uses the memory of the storage that sequences leave free."""
        maybe_set_recommended_wired_limit()
        chunk = ChunkSize(limit_seconds=settings.prefill_ms / 1000, most=settings.prefill_rows)
        self._settings = settings
        self._queue: WaitQueue[TokenSequence] = WaitQueue()
        self._prefilling = Prefilling(model, stop_tokens=stop_tokens, chunk=chunk)
        self._decoding = DecodingBatch(model, stop_tokens)
        self._speculator = Speculator(settings.speculation)
        self.counters = EngineCounters()
        self._kv_pool = KvPool(storage, kept, self.counters)
        self._next_uid = 0

    @property
    def waiting(self) -> int:
        """Sequences that have no place yet."""
        return len(self._queue)

    @property
    def prefilling(self) -> int:
        """Sequences that compute their prompts."""
        return len(self._prefilling.prompts)

    @property
    def decoding(self) -> int:
        """Sequences that decode."""
        return len(self._decoding)

    @property
    def free_places(self) -> int:
        """How many more sequences --batch-size allows."""
        return self._settings.batch_size - self.prefilling - self.decoding

    @property
    def longest(self) -> int:
        """The most tokens that a sequence may have."""
        return self._kv_pool.memory.longest

    def measure(self) -> EngineStats:
        """The current load."""
        memory = self._kv_pool.memory
        return EngineStats(
            waiting=self.waiting,
            prefilling=self.prefilling,
            decoding=self.decoding,
            active_bytes=memory.active_bytes([len(sequence.tokens) for sequence in self._live]),
            kept_bytes=self._kv_pool.kept_bytes,
            budget_bytes=memory.budget_bytes,
        )

    def close(self) -> None:
        """Finish writing to disk."""
        self._kv_pool.close()

    def add(
        self,
        prompt: Sequence[int],
        *,
        max_tokens: int,
        sampler: SequenceSampler,
        speculation: Speculation | None = None,
        stop_tokens: frozenset[int] = frozenset(),
    ) -> int:
        """Append a sequence to the wait queue; returns its uid. Alone it must fit the memory for KV."""
        uid, self._next_uid = self._next_uid, self._next_uid + 1
        self._queue.append(
            TokenSequence(
                uid,
                prompt,
                max_tokens=max_tokens,
                sampler=sampler,
                speculation=speculation,
                stop_tokens=stop_tokens,
            )
        )
        return uid

    def decode(self) -> list[TokenStep]:
        """One pass for all decoding sequences; those that ended are removed.

        When it raises, nothing has changed: call it again, or `drop_decoding`.
        """
        self._make_room()
        sequences = list(self._decoding.sequences)
        if not sequences:
            return []
        drafts = self._speculator.drafts(sequences)
        started = time.perf_counter()
        steps = self._decoding.next(drafts)
        rows = len(sequences) * (1 + max(map(len, drafts)))
        self._speculator.record_pass(rows, time.perf_counter() - started)
        self._count(sequences, drafts, steps)
        self._end([step.uid for step in steps if step.is_last])
        return steps

    def prefill(self) -> list[PrefillStep]:
        """One chunk of one prompt, if there is a prompt with room for it.

        When it raises, nothing has changed: call it again, or `drop_prefill`.
        """
        began = time.perf_counter()
        self._admit()
        self._look_again()
        spent = time.perf_counter() - began
        step = self._prefilling.next(others_wait=len(self._decoding) > 0, spent_seconds=spent)
        if step is None:
            return []
        if step.first is not None:
            self._end_prefill(step.uid, is_last=step.first.is_last)
        else:
            # Block by block: caching a long prompt all at once would delay the other sequences.
            prompt = self._prefilling.prompts[step.uid]
            self._kv_pool.keep_begun(prompt.sequence, prompt.kv, live=self._live, new=step.rows)
        return [step]

    def finish(self, uid: int) -> None:
        """Remove a sequence whose answer is complete, and cache its KV."""
        self._end([uid])

    def forget(self, uids: Collection[int]) -> None:
        """Remove sequences in any stage; unknown uids are ignored."""
        for uid in uids:
            self._queue.remove(uid)
            self._speculator.forget(uid)
        self._prefilling.drop(uids)
        self._decoding.drop(uids)

    def drop_decoding(self) -> list[int]:
        """Remove all decoding sequences; returns their uids."""
        uids = [sequence.uid for sequence in self._decoding.sequences]
        self.forget(uids)
        return uids

    def drop_prefill(self) -> list[int]:
        """Remove the prompt whose chunk failed; returns its uid."""
        uids = [uid for uid in self._prefilling.prompts if uid == self._prefilling.turn_of]
        self.forget(uids)
        return uids

    @property
    def _live(self) -> list[TokenSequence]:
        """The sequences that have KV."""
        prompts = [prompt.sequence for prompt in self._prefilling.prompts.values()]
        return [*self._decoding.sequences, *prompts]

    def _admit(self) -> None:
        while self.free_places > 0:
            sequence = self._queue.take(lambda one: self._kv_pool.spare_bytes([*self._live, one]) >= 0)
            if sequence is None:
                return
            kv = self._kv_pool.begin(sequence, [*self._live, sequence])
            self.counters.admitted += 1
            self.counters.prompt_tokens += len(sequence.tokens)
            self._prefilling.add(sequence, kv)

    def _look_again(self) -> None:
        """Before a prompt's first chunk, look again for a cached beginning, which may be new."""
        prompt = self._prefilling.first_turn()
        if prompt is not None:
            kv = self._kv_pool.begin_again(prompt.sequence, self._live, beyond=prompt.done)
            if kv is not None:
                self._prefilling.renew(prompt, kv)

    def _make_room(self) -> None:
        """Before a pass: shrink the prefix cache, then return the newest sequence to the wait queue."""
        needed = 1 + MAX_DRAFT
        while (spare := self._kv_pool.spare_bytes(self._live, headroom=needed)) < 0 and len(self._live) > 1:
            latest = max(self._live, key=lambda sequence: sequence.uid)
            self.forget([latest.uid])
            self._queue.put_back(latest)
            self.counters.preempted += 1
        self._kv_pool.give_way(spare)

    def _end_prefill(self, uid: int, *, is_last: bool) -> None:
        prompt = self._prefilling.prompts[uid]
        self._kv_pool.keep(prompt.sequence, prompt.kv, live=self._live, row=0, last=is_last)
        self._prefilling.drop([uid])
        if not is_last:
            self._decoding.join(prompt.sequence, prompt.kv)
        mx.clear_cache()

    def _end(self, uids: Collection[int]) -> None:
        """Cache the KV of decoding sequences, and remove them."""
        for row, sequence in enumerate(self._decoding.sequences):
            if sequence.uid in uids and self._decoding.kv:
                last = len(self._decoding) == 1
                self._kv_pool.keep(sequence, self._decoding.kv, live=self._live, row=row, last=last)
        self.forget(uids)

    def _count(
        self, sequences: Sequence[TokenSequence], drafts: Sequence[Draft], steps: Sequence[TokenStep]
    ) -> None:
        taken = Counter(step.uid for step in steps)
        for sequence, draft in zip(sequences, drafts, strict=True):
            self._speculator.record(sequence.uid, guessed=len(draft), right=taken[sequence.uid] - 1)
            self.counters.drafted_tokens += len(draft)
            self.counters.accepted_tokens += taken[sequence.uid] - 1
        self.counters.decoded_tokens += len(steps)
        self.counters.decode_passes += 1
        if self.counters.decode_passes % _CLEAR_CACHE_PASSES == 0:
            mx.clear_cache()
