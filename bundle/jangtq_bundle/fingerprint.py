"""What makes two directories the same bundle. Knows no path and no tensor's meaning."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from jangtq_bundle.hashes import TensorHashes
from jangtq_bundle.shards import Shard
from jangtq_bundle.tensors import read_bytes

ReadRange = Callable[[Shard, int, int], bytes]
"""Bytes of a file: from an offset, so many."""

_SAMPLES: Final = 16
_SAMPLE_BYTES: Final = 4096


def read_local(shard: Shard, offset: int, length: int) -> bytes:
    """Of a file on this machine. Raises BundleError."""
    return read_bytes(shard.path, offset=offset, length=length)


def fingerprint(
    config: Mapping[str, object],
    jang_config: Mapping[str, object],
    *,
    shards: Iterable[Shard],
    read: ReadRange = read_local,
    hashes: TensorHashes | None = None,
) -> str:
    """Hex SHA-256 over both configurations, each shard's name, size and header hash, and samples of its data.

    The headers carry the index: which tensor lies in which file. The samples distinguish bundles that
    differ in nothing but their weights. Where there are hashes, a dash and the SHA-256 of all of them follow,
    which stands for every byte.
    """
    sizes = {shard.name: [shard.size, shard.header_sha256, _sample(shard, read)] for shard in shards}
    parts = {"config": config, "jang_config": jang_config, "shards": sizes}
    sampled = _digest(parts)
    return sampled if hashes is None else f"{sampled}-{_digest(hashes.digests)}"


def is_same_bundle(fingerprint: str, other: str) -> bool:
    """Whether two fingerprints are of one bundle; hashes count where both have them."""
    (sampled, _, hashes), (other_sampled, _, other_hashes) = fingerprint.partition("-"), other.partition("-")
    return sampled == other_sampled and (hashes == other_hashes or not hashes or not other_hashes)


def differing_parts(fingerprint: str, other: str) -> tuple[str, str]:
    """Twelve digits of what makes two fingerprints differ: their samples, or else their hashes."""
    (sampled, _, hashes), (other_sampled, _, other_hashes) = fingerprint.partition("-"), other.partition("-")
    if sampled != other_sampled:
        return sampled[:12], other_sampled[:12]
    return hashes[:12], other_hashes[:12]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sample_ranges(shard: Shard) -> Iterator[tuple[int, int]]:
    """Offset and length of pieces spread evenly over the data, all of it when it is small."""
    data_bytes = shard.size - shard.data_offset
    step = max(_SAMPLE_BYTES, data_bytes // _SAMPLES)
    for start in range(0, data_bytes, step):
        yield shard.data_offset + start, min(_SAMPLE_BYTES, data_bytes - start)


def _sample(shard: Shard, read: ReadRange) -> str:
    digest = hashlib.sha256()
    for offset, length in sample_ranges(shard):
        digest.update(read(shard, offset, length))
    return digest.hexdigest()
