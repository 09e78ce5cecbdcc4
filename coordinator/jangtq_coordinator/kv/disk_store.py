"""Blocks of kept prompts as files, which outlive the process. Knows no tree and no budget of memory.

A file's name is a digest of the model's key and of all tokens up to the block's end, so that no file can be
taken for another model's or another beginning's. Files appear whole or not at all.
"""

import hashlib
import logging
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mlx.core as mx

from jangtq_coordinator.kv.batch_cache import KvPiece
from jangtq_coordinator.kv.block_files import BlockFile, BlockHeader, read_block, read_header, write_block
from jangtq_coordinator.kv.directory_lock import DirectoryLock

_log = logging.getLogger("jangtq.engine")
_SUFFIX: Final = ".safetensors"
_PENDING_WRITES: Final = 256


@dataclass
class SpilledBlock:
    """A block's file; `written` once it is there, `wanted` until it is deleted."""

    path: Path
    nbytes: int = 0
    written: bool = False
    wanted: bool = True

    @property
    def digest(self) -> str:
        return self.path.stem


class DiskStore:
    """The files of one model. A thread of its own writes them; it never touches MLX."""

    def __init__(
        self, directory: Path, *, key: str, part_types: tuple[mx.Dtype, ...], limit_bytes: int
    ) -> None:
        """`key` names everything that a block's numbers depend on; `part_types` are those of its parts.

        Raises OSError when the directory cannot be made, or is another process's.
        """
        self._root = hashlib.sha256(key.encode()).hexdigest()[:40]
        self._directory = directory / self._root
        # Kept prompts are what users wrote.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._directory.chmod(0o700)
        self._lock_file = DirectoryLock(directory)
        self._part_types = part_types
        self._others_bytes = _limit_others(directory, self._root, limit_bytes=limit_bytes)
        self._limit_bytes = limit_bytes
        self._nbytes = 0
        self._lock = threading.Lock()
        self._queue: queue.Queue[tuple[SpilledBlock, BlockFile] | None] = queue.Queue(_PENDING_WRITES)
        self._writer = threading.Thread(target=self._write_all, name="prompt-spill", daemon=True)
        self._writer.start()

    @property
    def excess_bytes(self) -> int:
        """By how much the files exceed their limit; 0 or less when they do not."""
        with self._lock:
            return self._nbytes + self._others_bytes - self._limit_bytes

    def found(self) -> Iterator[tuple[tuple[int, ...], int, SpilledBlock]]:
        """Files of earlier runs: all tokens up to a block's end, where it starts, and the file.

        Parents come before their children, and what was used last comes last. Useless files are removed.
        """
        below: dict[str, list[tuple[BlockHeader, SpilledBlock]]] = {}
        for path in sorted(self._directory.iterdir(), key=lambda path: path.stat().st_mtime):
            header = read_header(path) if path.suffix == _SUFFIX else None
            if header is None or _digest(header.parent, header.tokens) != path.stem:
                path.unlink()
                continue
            block = SpilledBlock(path, path.stat().st_size, written=True)
            below.setdefault(header.parent, []).append((header, block))
            self._nbytes += block.nbytes
        waiting: list[tuple[str, tuple[int, ...]]] = [(self._root, ())]
        while waiting:
            parent, before = waiting.pop(0)
            for header, block in below.pop(parent, ()):
                yield (*before, *header.tokens), len(before), block
                waiting.append((block.digest, (*before, *header.tokens)))
        for orphans in below.values():
            for _, block in orphans:
                self.delete(block)

    def write(
        self, tokens: Sequence[int], piece: KvPiece, *, parent: SpilledBlock | None, is_top: bool
    ) -> SpilledBlock | None:
        """Have a block written soon; None where it would be useless or too much is being written."""
        if not is_top and parent is None:
            return None
        header = BlockHeader(parent.digest if parent else self._root, tuple(tokens))
        block = SpilledBlock(self._directory / f"{_digest(header.parent, header.tokens)}{_SUFFIX}")
        try:
            self._queue.put_nowait((block, BlockFile.of(header, piece)))
        except queue.Full:
            return None
        return block

    def read(self, block: SpilledBlock) -> KvPiece | None:
        """A block's KV, evaluated; None, with the reason in the log, when the file is of no use."""
        try:
            return read_block(block.path, part_types=self._part_types)
        except (OSError, ValueError) as error:
            _log.warning("a kept prompt cannot be read back and is removed: %s: %s", block.path, error)
            return None

    def touch(self, block: SpilledBlock) -> None:
        """Remember across restarts that a block was used now."""
        if block.written:
            try:
                os.utime(block.path)
            except OSError as error:
                _log.warning("a kept prompt is gone: %s", error)

    def delete(self, block: SpilledBlock) -> None:
        """Remove a block's file, or see to it that it is never written."""
        with self._lock:
            block.wanted = False
            if block.written:
                block.path.unlink(missing_ok=True)
                self._nbytes -= block.nbytes
                block.written = False

    def close(self) -> None:
        """Write what is waiting, end the thread, and release the directory."""
        self._queue.put(None)
        self._writer.join()
        self._lock_file.release()

    def _write_all(self) -> None:
        while (work := self._queue.get()) is not None:
            block, file = work
            try:
                self._write(block, file)
            except OSError as error:
                _log.warning("a prompt cannot be kept on disk: %s: %s", block.path, error)

    def _write(self, block: SpilledBlock, file: BlockFile) -> None:
        if not block.wanted:
            return
        unfinished = block.path.with_suffix(".part")
        try:
            write_block(unfinished, file)
            with self._lock:
                if block.wanted:
                    unfinished.rename(block.path)
                    block.nbytes = block.path.stat().st_size
                    block.written = True
                    self._nbytes += block.nbytes
        finally:
            unfinished.unlink(missing_ok=True)


def _digest(parent: str, tokens: Sequence[int]) -> str:
    return hashlib.sha256(f"{parent} {' '.join(map(str, tokens))}".encode()).hexdigest()[:40]


def _limit_others(directory: Path, own: str, *, limit_bytes: int) -> int:
    """Remove other models' files, the oldest first, until they fit the limit; returns what is left."""
    files = [path for path in directory.glob(f"*/*{_SUFFIX}") if path.parent.name != own]
    files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > limit_bytes // 2:
            total -= path.stat().st_size
            path.unlink()
    return total
