"""One block of KV as a safetensors file: its header, and its parts as bytes. Knows no cache.

A checksum over all parts stands in the header, since safetensors has none.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from xxhash import xxh3_128

from jangtq_coordinator.kv.batch_cache import KvPiece
from jangtq_coordinator.kv.layer_cache import LayerKv, Parts

_KINDS: Final = ("keys", "values")


@dataclass(frozen=True)
class BlockHeader:
    """The block's own tokens, and the digest of the block before it."""

    parent: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class BlockFile:
    """What goes into a file. The arrays are views of MLX's memory, for any thread to read."""

    header: BlockHeader
    arrays: dict[str, NDArray[np.uint8]]

    @classmethod
    def of(cls, header: BlockHeader, piece: KvPiece) -> "BlockFile":
        """Must be called in the thread that owns MLX."""
        views = {
            f"{layer}.{kind}.{place}": part.view(mx.uint8)
            for layer, kv in enumerate(piece)
            for kind, parts in zip(_KINDS, (kv.keys, kv.values), strict=True)
            for place, part in enumerate(parts)
        }
        mx.eval(list(views.values()))
        return cls(header, {name: np.array(view, copy=False) for name, view in views.items()})


def write_block(path: Path, file: BlockFile) -> None:
    """Write and flush to the disk. Raises OSError."""
    metadata = {
        "parent": file.header.parent,
        "tokens": " ".join(map(str, file.header.tokens)),
        "checksum": _checksum(file.arrays),
    }
    content = save(file.arrays, metadata)
    with open(path, "wb", opener=_open_privately) as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_header(path: Path) -> BlockHeader | None:
    """The header of a whole file; None for anything else."""
    try:
        with safe_open(path, framework="numpy") as file:
            return _header(file.metadata())
    except (OSError, SafetensorError, ValueError):
        return None


def read_block(path: Path, *, part_types: tuple[mx.Dtype, ...]) -> KvPiece:
    """The KV of a file, evaluated. Raises OSError, and ValueError for what is not such a block."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            length = len(_header(metadata).tokens)
            parts = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if _checksum(parts) != metadata["checksum"]:
        raise ValueError("the content does not match its checksum")
    arrays = {name: mx.array(part) for name, part in parts.items()}
    if any(array.shape[2] != length for array in arrays.values()):
        raise ValueError(f"{length} tokens, but not all parts are of this length")
    layers = len(arrays) // (len(_KINDS) * len(part_types))
    try:
        piece = [
            LayerKv(*(_parts(arrays, f"{layer}.{kind}", part_types) for kind in _KINDS))
            for layer in range(layers)
        ]
    except KeyError as error:
        raise ValueError(f"the part {error} is missing") from error
    mx.eval([(kv.keys, kv.values) for kv in piece])
    return piece


def _parts(arrays: dict[str, mx.array], name: str, part_types: tuple[mx.Dtype, ...]) -> Parts:
    return tuple(arrays[f"{name}.{place}"].view(kind) for place, kind in enumerate(part_types))


def _header(metadata: dict[str, str] | None) -> BlockHeader:
    if not metadata or not {"parent", "tokens", "checksum"} <= metadata.keys():
        raise ValueError("no block of a prompt")
    return BlockHeader(metadata["parent"], tuple(map(int, metadata["tokens"].split())))


def _checksum(arrays: dict[str, NDArray[np.uint8]]) -> str:
    """Of all parts with their names and shapes."""
    digest = xxh3_128()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
