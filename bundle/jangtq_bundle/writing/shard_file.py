"""A planned safetensors file that several threads write, at any position. Knows no model."""

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.writing.shard_plan import PlannedShard
from jangtq_proto.errors import ConfigurationError

DIGESTS_SUFFIX: Final = ".digests"
_DRAFT_SUFFIX: Final = ".part"


class ShardFile:
    """Takes its name only when it is whole; beside it lie the SHA-256 digests of what was written."""

    def __init__(self, path: Path, shard: PlannedShard) -> None:
        """Raises ConfigurationError where nothing can be written."""
        self._path = path
        self._shard = shard
        self._draft = path.with_name(path.name + _DRAFT_SUFFIX)
        self._hashes: dict[tuple[str, int], hashlib._Hash] = {}
        self._lock = threading.Lock()
        try:
            self._file = os.open(self._draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as error:
            raise _unwritable(self._draft, error) from error
        try:
            self._write(shard.header, 0)
        except ConfigurationError:
            self.abandon()
            raise

    def write(self, tensor: str, values: NDArray[np.generic], *, part: int = 0, at: int = 0) -> None:
        """Put values at byte `at` of a tensor. Bytes of one part must come in order; parts in any order.

        Raises ConfigurationError where the disk is full.
        """
        data = np.ascontiguousarray(values).data.cast("B")
        with self._lock:
            digest = self._hashes.setdefault((tensor, part), hashlib.sha256())
        digest.update(data)
        self._write(data, self._shard.offsets[tensor] + at)

    def finish(self) -> None:
        """Make everything durable, the digests first, and take the final name."""
        os.fsync(self._file)
        os.close(self._file)
        digests_path(self._path).write_text(json.dumps(self.digests()))
        self._draft.replace(self._path)

    def digests(self) -> Mapping[str, tuple[str, ...]]:
        """Of what was written so far: by tensor, in the order of parts."""
        digests: dict[str, list[str]] = {}
        for (tensor, _), digest in sorted(self._hashes.items()):
            digests.setdefault(tensor, []).append(digest.hexdigest())
        return {tensor: tuple(parts) for tensor, parts in digests.items()}

    def abandon(self) -> None:
        """Leave nothing behind."""
        os.close(self._file)
        self._draft.unlink(missing_ok=True)

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        while view:
            try:
                done = os.pwrite(self._file, view[: 1 << 28], offset)
            except OSError as error:
                raise _unwritable(self._draft, error) from error
            view, offset = view[done:], offset + done


def digests_path(path: Path) -> Path:
    """Where the digests of a file lie while its bundle is being written."""
    return path.with_name(path.name + DIGESTS_SUFFIX)


def read_digests(path: Path) -> Mapping[str, tuple[str, ...]]:
    """The digests of a finished file, by tensor, in the order of its parts."""
    digests = json.loads(digests_path(path).read_text())
    return {name: tuple(parts) for name, parts in digests.items()}


def _unwritable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{path}: cannot be written: {error.strerror}")
