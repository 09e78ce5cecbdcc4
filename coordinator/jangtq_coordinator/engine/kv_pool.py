"""The memory for KV, shared by active sequences and the prefix cache, which gives way first.

Knows no model.
"""

from collections.abc import Collection, Sequence

from jangtq_coordinator.engine.sequence import TokenSequence
from jangtq_coordinator.engine.stats import EngineCounters
from jangtq_coordinator.kv.batch_cache import BatchCache
from jangtq_coordinator.kv.layer_cache import COLUMN_STEP
from jangtq_coordinator.kv.prefix_cache import PrefixCache
from jangtq_coordinator.kv.prefix_tree import BLOCK_TOKENS
from jangtq_coordinator.kv.storage import KvStorage


class KvPool:
    """In every method, `live` is all sequences that have KV or are about to get it."""

    def __init__(self, storage: KvStorage, kept: PrefixCache, counters: EngineCounters) -> None:
        self.memory = storage.memory
        self._storage = storage
        self._kept = kept
        self._counters = counters

    @property
    def kept_bytes(self) -> int:
        """Bytes of the prefix cache in memory."""
        return self._kept.nbytes

    def spare_bytes(self, live: Collection[TokenSequence], *, headroom: int = COLUMN_STEP) -> int:
        """Bytes left when each sequence grows by `headroom` tokens; negative where they do not fit."""
        return self.memory.spare_bytes([min(len(one.tokens) + headroom, one.limit) for one in live])

    def begin(self, sequence: TokenSequence, live: Collection[TokenSequence]) -> BatchCache:
        """New KV for a sequence, with the cached beginning of its prompt."""
        spare = max(self.spare_bytes(live), 0)
        kv = self._restore(sequence, spare_bytes=spare, beyond=0)
        self._kept.shrink(spare)
        return kv or self._storage.new_kv()

    def begin_again(
        self, sequence: TokenSequence, live: Collection[TokenSequence], *, beyond: int
    ) -> BatchCache | None:
        """KV for the same sequence, if more than `beyond` tokens of its beginning are cached by now."""
        return self._restore(sequence, spare_bytes=max(self.spare_bytes(live), 0), beyond=beyond)

    def give_way(self, spare_bytes: int) -> None:
        """Limit the prefix cache to the bytes that live sequences leave."""
        self._kept.shrink(max(spare_bytes, 0))

    def keep(
        self, sequence: TokenSequence, kv: BatchCache, *, live: Sequence[TokenSequence], row: int, last: bool
    ) -> None:
        """Cache what a row of KV holds; `last` says that the row is not used afterwards."""
        lengths = [len(one.tokens) for one in live if not (last and one is sequence)]
        room = self.memory.spare_bytes(lengths) if last else self.spare_bytes(live, headroom=0)
        self._kept.store(sequence.tokens[: kv.lengths[row]], kv, row=row, room_bytes=room, last=last)

    def keep_begun(
        self, sequence: TokenSequence, kv: BatchCache, *, live: Sequence[TokenSequence], new: int
    ) -> None:
        """Cache the full blocks of an unfinished prompt, after `new` more of its tokens were computed."""
        (done,) = kv.lengths
        blocks = done // BLOCK_TOKENS
        if blocks > (done - new) // BLOCK_TOKENS:
            room = self.spare_bytes(live, headroom=0)
            self._kept.store(sequence.tokens[: blocks * BLOCK_TOKENS], kv, row=0, room_bytes=room)

    def close(self) -> None:
        """Finish writing to disk."""
        self._kept.close()

    def _restore(self, sequence: TokenSequence, *, spare_bytes: int, beyond: int) -> BatchCache | None:
        prefix = self._kept.find(sequence.tokens)
        if prefix.length <= beyond:
            return None
        if not sequence.answered:
            sequence.cached_tokens = prefix.length
        self._counters.cached_tokens += prefix.length - beyond
        return self._kept.restore(prefix, spare_bytes=spare_bytes)
