"""Plans the file and the position of each tensor before a byte is written. Opens no file."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from jangtq_bundle.metadata import encode_json
from jangtq_bundle.shards import ITEM_BYTES


@dataclass(frozen=True, slots=True)
class NewTensor:
    """A tensor to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class PlannedShard:
    """One file: its tensors, the widest values first, so that all are aligned."""

    tensors: tuple[NewTensor, ...]

    @cached_property
    def header(self) -> bytes:
        """The length of the JSON, the JSON, and blanks up to a multiple of eight bytes."""
        members: dict[str, object] = {"__metadata__": {"format": "jangtq"}}
        position = 0
        for tensor in self.tensors:
            extent = [position, position + tensor.nbytes]
            members[tensor.name] = {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "data_offsets": extent,
            }
            position += tensor.nbytes
        text = json.dumps(members, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Where each tensor begins, from the start of the file."""
        offsets, position = {}, len(self.header)
        for tensor in self.tensors:
            offsets[tensor.name] = position
            position += tensor.nbytes
        return offsets

    @property
    def nbytes(self) -> int:
        """Of the whole file."""
        return len(self.header) + sum(tensor.nbytes for tensor in self.tensors)


def plan_shards(groups: Iterable[Sequence[NewTensor]], *, shard_bytes: int) -> tuple[PlannedShard, ...]:
    """Files of about `shard_bytes`; the tensors of a group share a file."""
    return tuple(PlannedShard(tuple(_aligned(tensors))) for tensors in _fill(groups, shard_bytes))


def shard_name(number: int, count: int) -> str:
    """The name of file `number`, from 0, of `count`."""
    return f"model-{number + 1:05d}-of-{count:05d}.safetensors"


def index_json(shards: Sequence[PlannedShard]) -> bytes:
    """The content of model.safetensors.index.json."""
    weight_map = {
        tensor.name: shard_name(number, len(shards))
        for number, shard in enumerate(shards)
        for tensor in shard.tensors
    }
    total = sum(tensor.nbytes for shard in shards for tensor in shard.tensors)
    metadata = {"format": "jangtq", "total_size": total}
    return encode_json({"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))})


def _fill(groups: Iterable[Sequence[NewTensor]], shard_bytes: int) -> Iterator[list[NewTensor]]:
    pending: list[NewTensor] = []
    size = 0
    for group in groups:
        pending.extend(group)
        size += sum(tensor.nbytes for tensor in group)
        if size >= shard_bytes:
            yield pending
            pending, size = [], 0
    if pending:
        yield pending


def _aligned(tensors: Iterable[NewTensor]) -> list[NewTensor]:
    return sorted(tensors, key=lambda tensor: (-ITEM_BYTES[tensor.dtype], tensor.name))
