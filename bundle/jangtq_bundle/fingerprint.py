"""What makes two directories the same bundle. Knows no path and no tensor's meaning."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Final

from jangtq_bundle.hashes import TensorHashes
from jangtq_bundle.shards import Shard
from jangtq_bundle.tensors import read_bytes

_SAMPLES: Final = 16
_SAMPLE_BYTES: Final = 4096


def fingerprint(
    config: Mapping[str, object],
    jang_config: Mapping[str, object],
    *,
    shards: Iterable[Shard],
    hashes: TensorHashes | None = None,
) -> str:
    """Hex SHA-256 over both configurations, each shard's name, size and header hash, and samples of its data.

    The headers carry the index: which tensor lies in which file. The samples tell bundles apart that
    differ in nothing but their weights. With hashes it stands for every byte that is loaded.
    """
    parts: dict[str, object] = {
        "config": config,
        "jang_config": jang_config,
        "shards": {shard.name: [shard.size, shard.header_sha256, _sample(shard)] for shard in shards},
    }
    if hashes is not None:
        parts["hashes"] = hashes.digests
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sample(shard: Shard) -> str:
    """SHA-256 of pieces spread evenly over the data, all of it when it is small."""
    digest = hashlib.sha256()
    data_bytes = shard.size - shard.data_offset
    step = max(_SAMPLE_BYTES, data_bytes // _SAMPLES)
    for start in range(0, data_bytes, step):
        length = min(_SAMPLE_BYTES, data_bytes - start)
        digest.update(read_bytes(shard.path, offset=shard.data_offset + start, length=length))
    return digest.hexdigest()
