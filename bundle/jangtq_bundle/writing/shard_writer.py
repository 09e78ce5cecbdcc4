"""Writes tensors to numbered safetensors files with an index. Knows no model."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from jangtq_bundle.directory import INDEX_FILE
from jangtq_bundle.metadata import encode_json


class ShardWriter:
    """Collects tensors and writes a file whenever `shard_bytes` are reached."""

    def __init__(self, path: Path, *, shard_bytes: int) -> None:
        self._path = path
        self._shard_bytes = shard_bytes
        self._pending: dict[str, NDArray[np.generic]] = {}
        self._pending_bytes = 0
        self._written: list[tuple[Path, tuple[str, ...]]] = []
        self._total_bytes = 0

    def add(self, tensors: Mapping[str, NDArray[np.generic]]) -> None:
        for name, tensor in tensors.items():
            self._pending[name] = np.ascontiguousarray(tensor)
            self._pending_bytes += tensor.nbytes
            if self._pending_bytes >= self._shard_bytes:
                self._flush()

    def finish(self) -> None:
        """Write what is left, give the files their final names, and write the index."""
        self._flush()
        count = len(self._written)
        weight_map: dict[str, str] = {}
        for number, (path, names) in enumerate(self._written, start=1):
            final = f"model-{number:05d}-of-{count:05d}.safetensors"
            path.rename(self._path / final)
            weight_map |= dict.fromkeys(names, final)
        index = {
            "metadata": {"format": "jangtq", "total_size": self._total_bytes},
            "weight_map": dict(sorted(weight_map.items())),
        }
        (self._path / INDEX_FILE).write_bytes(encode_json(index))

    def _flush(self) -> None:
        if not self._pending:
            return
        path = self._path / f"part-{len(self._written)}.safetensors"
        path.write_bytes(save(self._pending))
        self._written.append((path, tuple(self._pending)))
        self._total_bytes += self._pending_bytes
        self._pending, self._pending_bytes = {}, 0
