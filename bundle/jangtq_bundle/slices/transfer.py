"""Executes a slice plan: reads ranges in parallel, checks them, and continues after an interruption."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from jangtq_bundle.hashes import HASHES_FILE, TensorHashes
from jangtq_bundle.slices.byte_source import ByteSource
from jangtq_bundle.slices.slice_plan import Piece, SlicePlan, neighbours
from jangtq_bundle.writing.shard_file import ShardFile
from jangtq_bundle.writing.shard_plan import PlannedShard
from jangtq_bundle.writing.unfinished import OnProgress, UnfinishedBundle
from jangtq_proto.errors import BundleError

_RANGE_BYTES: Final = 32 * 2**20
"""Of one request: long enough that its answer's way counts little, short enough to be asked for again."""


@dataclass
class _Progress:
    """Counts bytes of all threads."""

    report: OnProgress
    total: int
    done: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int) -> None:
        with self._lock:
            self.done += count
            self.report(self.done, self.total)


@dataclass(frozen=True)
class Transfer:
    """`expected` are digests that the slice's tensors must have, where the source has any."""

    plan: SlicePlan
    source: ByteSource
    expected: TensorHashes | None = None
    connections: int = 8

    def run(self, target: UnfinishedBundle, on_progress: OnProgress) -> None:
        """Write every shard that is not there yet. Raises JangtqError; what is whole then stays."""
        progress = _Progress(on_progress, sum(shard.nbytes for shard in self.plan.shards))
        with ThreadPoolExecutor(self.connections, thread_name_prefix="slice") as pool:
            for number, shard in enumerate(self.plan.shards):
                path = target.shard_path(number)
                if path.exists():
                    progress.add(shard.nbytes)
                    continue
                progress.add(len(shard.header))
                self._write(ShardFile(path, shard), shard, pool, progress.add)

    def _write(
        self, file: ShardFile, shard: PlannedShard, pool: ThreadPoolExecutor, on_bytes: Callable[[int], None]
    ) -> None:
        runs = neighbours(self.plan.pieces_of(shard), most_bytes=_RANGE_BYTES)
        futures = [pool.submit(self._copy, run, file, on_bytes) for run in runs]
        try:
            for future in futures:
                future.result()
            self._check(file.digests())
        except BaseException:
            wait([future for future in futures if not future.cancel()])
            file.abandon()
            raise
        file.finish()

    def _copy(self, run: tuple[Piece, ...], file: ShardFile, on_bytes: Callable[[int], None]) -> None:
        pieces = iter(run)
        piece, done = next(pieces), 0
        for chunk in self.source.read(run[0].file, offset=run[0].offset, length=run[-1].end - run[0].offset):
            view = memoryview(chunk)
            on_bytes(len(view))
            while view:
                part = view[: piece.nbytes - done]
                values = np.frombuffer(part, dtype=np.uint8)
                file.write(piece.tensor, values, part=piece.part, at=piece.at + done)
                view, done = view[len(part) :], done + len(part)
                if done == piece.nbytes and piece is not run[-1]:
                    piece, done = next(pieces), 0

    def _check(self, found: Mapping[str, tuple[str, ...]]) -> None:
        if self.expected is None:
            return
        for name, digests in found.items():
            if digests != self.expected.digests.get(name):
                raise BundleError(
                    f"tensor {name!r}: other bytes came than {HASHES_FILE} of the source says; "
                    "the source is damaged, or changed while it was read"
                )
