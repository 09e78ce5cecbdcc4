"""The sources of a slice's bytes: ranges of named files, local or remote. Knows no tensor."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from jangtq_bundle.directory import Directory
from jangtq_bundle.tensors import open_for_reading, read_into

_CHUNK_BYTES: Final = 4 * 2**20


class ByteSource(Protocol):
    """Used by several threads at once."""

    def read(self, file: str, *, offset: int, length: int) -> Iterator[bytes | memoryview]:
        """Exactly these bytes, in order and in pieces. Raises JangtqError naming the file."""
        ...


@dataclass(frozen=True)
class LocalSource:
    """The files of a directory."""

    directory: Directory

    def read(self, file: str, *, offset: int, length: int) -> Iterator[bytes | memoryview]:
        path = self.directory.require(file, reason="the slice needs it")
        with open_for_reading(path) as opened:
            for start in range(0, length, _CHUNK_BYTES):
                chunk = np.empty(min(_CHUNK_BYTES, length - start), dtype=np.uint8)
                read_into(opened, chunk, offset=offset + start)
                yield chunk.data


def read_all(source: ByteSource, file: str, *, offset: int, length: int) -> bytes:
    """The same in one piece."""
    return b"".join(source.read(file, offset=offset, length=length))
