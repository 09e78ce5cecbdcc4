"""SHA-256 of a bundle's tensors, of stacked experts one each, in a file beside them. Loads no weight."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.inventory import Inventory
from jangtq_bundle.json_files import Fields
from jangtq_bundle.metadata import encode_json
from jangtq_bundle.shards import TensorRecord
from jangtq_bundle.tensors import open_for_reading, read_into
from jangtq_bundle.vocabulary import Part
from jangtq_proto.errors import BundleError

HASHES_FILE: Final = "jangtq_hashes.json"
_ALGORITHM: Final = "sha256"
_HEX = re.compile(r"[0-9a-f]{64}")
_STACKED: Final = tuple(f"_proj.{part}" for part in (Part.CODES, Part.NORMS))
_MOST_THREADS: Final = 8
_PIECE_BYTES: Final = 1 << 26


@dataclass(frozen=True)
class TensorHashes:
    """Hex digests by tensor: one of the whole, or of a stacked tensor one of each expert."""

    digests: Mapping[str, tuple[str, ...]]

    def check(self, record: TensorRecord, found: str, *, part: int = 0, expert: int | None = None) -> None:
        """Compare the digest of a tensor, or of the expert at place `part` of a stack. Raises BundleError."""
        expected = self.digests[record.name][part]
        if found != expected:
            where = "" if expert is None else f"expert {expert}: "
            raise BundleError(
                f"{record.file}: tensor {record.name!r}: {where}its bytes changed: their SHA-256 is "
                f"{found[:12]}, {HASHES_FILE} says {expected[:12]}; copy the file again"
            )

    def check_files(self, records: Iterable[TensorRecord]) -> None:
        """Read whole tensors and compare them. Raises BundleError."""
        for record in records:
            for index, digest in enumerate(hash_tensor(record)):
                self.check(record, digest, part=index, expert=index if is_stacked(record.name) else None)

    def to_json(self) -> bytes:
        """The content of the file."""
        tensors = {
            name: list(found) if is_stacked(name) else found[0] for name, found in self.digests.items()
        }
        return encode_json({"algorithm": _ALGORITHM, "tensors": tensors})


def is_stacked(name: str) -> bool:
    """Whether a tensor holds codes or norms of all experts of a layer, so that each has its own digest."""
    return ".switch_mlp." in name and name.endswith(_STACKED)


def parse_hashes(members: Mapping[str, object], inventory: Inventory) -> TensorHashes:
    """Check the file's members against the tensors that are there. Raises BundleError."""
    fields = Fields(HASHES_FILE, members)
    fields.require("algorithm", _ALGORITHM)
    tensors = fields.child("tensors").members
    for name in sorted(inventory.tensors.keys() ^ tensors.keys()):
        raise BundleError(f"{HASHES_FILE}: tensor {name!r} stands only here or only in the weight files")
    return TensorHashes(
        {name: _digests(inventory.tensors[name], tensors[name]) for name in sorted(inventory.tensors)}
    )


def compute_hashes(inventory: Inventory) -> TensorHashes:
    """Read every tensor once. Raises BundleError."""
    return TensorHashes({name: hash_tensor(inventory.tensors[name]) for name in sorted(inventory.tensors)})


def hash_tensor(record: TensorRecord) -> tuple[str, ...]:
    """The digests of a tensor as it lies in its file. Raises BundleError."""
    if is_stacked(record.name):
        blocks = np.empty((record.shape[0], record.nbytes // record.shape[0]), dtype=np.uint8)
        with open_for_reading(record.path) as file:
            read_into(file, blocks, offset=record.offset)
        return hash_blocks(blocks)
    digest = hashlib.sha256()
    with open_for_reading(record.path) as file:
        for start in range(0, record.nbytes, _PIECE_BYTES):
            piece = np.empty(min(_PIECE_BYTES, record.nbytes - start), dtype=np.uint8)
            read_into(file, piece, offset=record.offset + start)
            digest.update(piece.data)
    return (digest.hexdigest(),)


def hash_blocks(blocks: NDArray[np.generic]) -> tuple[str, ...]:
    """The digest of each item of the first axis of a C-contiguous array, on several cores."""
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return tuple(pool.map(_hash, blocks.reshape(len(blocks), -1).view(np.uint8)))


def _hash(block: NDArray[np.uint8]) -> str:
    return hashlib.sha256(block.data).hexdigest()


def _digests(record: TensorRecord, value: object) -> tuple[str, ...]:
    found = value if is_stacked(record.name) else [value]
    count = record.shape[0] if is_stacked(record.name) else 1
    if not isinstance(found, list) or len(found) != count:
        raise BundleError(f"{HASHES_FILE}: {record.name}: expected {count} digests")
    if not all(isinstance(digest, str) and _HEX.fullmatch(digest) for digest in found):
        raise BundleError(f"{HASHES_FILE}: {record.name}: expected digests of 64 hex digits")
    return tuple(found)
