"""The KV of prompts and answers there were, for prompts that begin alike. Knows no requests and no model.

Belongs to the engine's thread, and to one model: another fingerprint has another cache.
"""

import importlib.metadata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jangtq_coordinator.kv.batch_cache import BatchCache, KvPiece
from jangtq_coordinator.kv.disk_store import DiskStore, SpilledBlock
from jangtq_coordinator.kv.kv_config import KvSettings
from jangtq_coordinator.kv.layer_cache import KvForm
from jangtq_coordinator.kv.prefix_tree import Path, PrefixBlock, PrefixTree, Span
from jangtq_coordinator.kv.storage import KvStorage
from jangtq_proto.errors import ConfigurationError


@dataclass
class CachedBlock:
    """A block's KV: in memory (None: no longer), on disk (None: never), or both."""

    piece: KvPiece | None
    file: SpilledBlock | None = None

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.piece or ())


Prefix = Path[CachedBlock]
"""A kept beginning of a prompt."""


class PrefixCache:
    """Gives way in the order of last use: reading is use too."""

    def __init__(self, form: KvForm, spill: DiskStore | None = None, *, is_on: bool = True) -> None:
        """One that is not on keeps nothing."""
        self._form = form
        self._is_on = is_on
        self._tree: PrefixTree[CachedBlock] = PrefixTree()
        self._spill = spill
        self._nbytes = 0
        if spill:
            for tokens, start, file in spill.found():
                self._tree.insert(tokens, Span(start, len(tokens)), CachedBlock(None, file))

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        return self._nbytes

    def find(self, tokens: Sequence[int]) -> Prefix:
        """The longest kept beginning of all tokens but the last, which must run to give an answer."""
        path = self._tree.find(tokens[:-1])
        while broken := next((block for block in path.blocks if not self._in_memory(block)), None):
            self._drop_all(broken)
            path = self._tree.find(tokens[:-1])
        if self._spill:
            for block in reversed(path.blocks):
                if block.payload.file:
                    self._spill.touch(block.payload.file)
        return path

    def restore(self, prefix: Prefix, *, spare_bytes: int) -> BatchCache:
        """The KV of a prefix as a batch of one sequence; the cache may keep `spare_bytes` beside it.

        The prefix gives way last, and then moves instead of being copied.
        """
        self.shrink(spare_bytes, keep=prefix.blocks)
        pieces = [list(block.payload.piece or ()) for block in prefix.blocks]
        if self._nbytes > spare_bytes:
            for block in reversed(prefix.blocks):
                self._leave_memory(block)
        return BatchCache.of(self._form, pieces, length=prefix.length)

    def store(
        self, tokens: Sequence[int], kv: BatchCache, *, row: int, room_bytes: int, last: bool = False
    ) -> None:
        """Keep what a row holds of these tokens, or the beginning for which `room_bytes` are enough.

        `last` says that the batch is not used afterwards: its layers are let go as they are copied.
        """
        if not self._is_on:
            return
        known, spans = self._tree.missing(tokens)
        room = room_bytes - sum(block.payload.nbytes for block in known)
        kept = [span for span in spans if (span.stop - spans[0].start) * kv.token_bytes <= room]
        if not kept:
            return
        self.shrink(room_bytes - (kept[-1].stop - kept[0].start) * kv.token_bytes, keep=known)
        pieces = kv.pieces(row, [(span.start, span.stop) for span in kept], last=last)
        for span, piece in zip(kept, pieces, strict=True):
            self._insert(tokens, span, piece)

    def shrink(self, limit_bytes: int, *, keep: Collection[PrefixBlock[CachedBlock]] = ()) -> None:
        """Drop the least recently used blocks that `keep` allows, until `limit_bytes` are enough."""
        if self._nbytes <= limit_bytes:
            return
        for block in self._tree:
            if block not in keep and not any(child.payload.piece for child in block.children.values()):
                self._leave_memory(block)
                if self._nbytes <= limit_bytes:
                    return

    def close(self) -> None:
        """Finish what is being written."""
        if self._spill:
            self._spill.close()

    def _insert(self, tokens: Sequence[int], span: Span, piece: KvPiece) -> None:
        kept = CachedBlock(piece)
        block, replaced = self._tree.insert(tokens, span, kept)
        for old in replaced:
            self._forget(old)
        self._nbytes += kept.nbytes
        if self._spill:
            parent = block.parent.payload.file if block.parent else None
            kept.file = self._spill.write(block.tokens, piece, parent=parent, is_top=block.parent is None)
            self._limit_disk()

    def _in_memory(self, block: PrefixBlock[CachedBlock]) -> bool:
        """Read a block back where only the disk has it. False when it cannot be read."""
        kept = block.payload
        if kept.piece is None and self._spill and kept.file:
            kept.piece = self._spill.read(kept.file)
            self._nbytes += kept.nbytes
        return kept.piece is not None

    def _leave_memory(self, block: PrefixBlock[CachedBlock]) -> None:
        if block.payload.file is None or not block.payload.file.written:
            self._drop_all(block)
        else:
            self._nbytes -= block.payload.nbytes
            block.payload.piece = None

    def _drop_all(self, block: PrefixBlock[CachedBlock]) -> None:
        for gone in self._tree.remove(block):
            self._forget(gone)

    def _forget(self, block: PrefixBlock[CachedBlock]) -> None:
        self._nbytes -= block.payload.nbytes
        block.payload.piece = None
        if self._spill and block.payload.file:
            self._spill.delete(block.payload.file)

    def _limit_disk(self) -> None:
        assert self._spill
        for block in self._tree:
            if self._spill.excess_bytes <= 0:
                return
            if block.payload.file and not any(child.payload.file for child in block.children.values()):
                self._spill.delete(block.payload.file)
                block.payload.file = None
                if block.payload.piece is None:
                    self._drop_all(block)


def open_prompt_cache(storage: KvStorage, settings: KvSettings, *, fingerprint: str) -> PrefixCache:
    """The cache that settings ask for. Raises ConfigurationError when its directory cannot be used."""
    if settings.disk_directory is None:
        return PrefixCache(storage.form, is_on=settings.keep_prompts)
    release = importlib.metadata.version("jangtq-cluster")
    try:
        spill = DiskStore(
            settings.disk_directory,
            key=f"{fingerprint} {release} {storage.shape} {storage.form}",
            part_types=storage.part_types,
            limit_bytes=settings.disk_bytes,
        )
        return PrefixCache(storage.form, spill)
    except OSError as error:
        raise ConfigurationError(
            f"--prompt-cache-dir {settings.disk_directory} cannot be used: {error.strerror or error}"
        ) from error
