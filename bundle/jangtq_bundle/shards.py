"""Headers of safetensors files, checked to the last byte. Knows no tensor's meaning and reads no weight."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jangtq_bundle.directory import Directory
from jangtq_bundle.json_files import parse_json_object
from jangtq_bundle.tensors import read_bytes
from jangtq_proto.errors import BundleError

MOST_HEADER_BYTES: Final = 100_000_000
"""The limit of the safetensors format itself."""

ITEM_BYTES: Final[Mapping[str, int]] = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """Where one tensor lies: `file` is the name in the bundle, `path` what it resolves to.

    offset counts bytes from the start of the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    path: Path
    offset: int
    nbytes: int

    @property
    def end(self) -> int:
        return self.offset + self.nbytes


@dataclass(frozen=True)
class Shard:
    """One safetensors file whose header was checked."""

    name: str
    path: Path
    size: int
    data_offset: int
    header_sha256: str
    tensors: tuple[TensorRecord, ...]


def read_shard(directory: Directory, name: str) -> Shard:
    """Read and check a header. Raises BundleError naming file, tensor, found and expected."""
    path = directory.require(name, reason="the index names it")
    size = path.stat().st_size
    return parse_shard(name, path, _read_header(path, name, size=size), size=size)


def parse_shard(name: str, path: Path, header: bytes, *, size: int) -> Shard:
    """The same from a header that was read already, of a file of `size` bytes wherever it lies."""
    data_offset = 8 + len(header)
    members = parse_json_object(header, f"{name}: header")
    tensors = tuple(
        _record(_Entry(name, tensor, value), path, data_offset=data_offset)
        for tensor, value in members.items()
        if tensor != "__metadata__"
    )
    _check_extents(name, tensors, data_offset=data_offset, size=size)
    return Shard(name, path, size, data_offset, hashlib.sha256(header).hexdigest(), tensors)


def _read_header(path: Path, name: str, *, size: int) -> bytes:
    length = header_length(name, read_bytes(path, offset=0, length=8) if size >= 8 else b"", size=size)
    return read_bytes(path, offset=8, length=length)


def header_length(name: str, start: bytes, *, size: int) -> int:
    """How long the header is, from the first eight bytes of a file. Raises BundleError."""
    length = int.from_bytes(start, "little") if len(start) == 8 else 8
    if length > size - 8:
        raise BundleError(
            f"{name}: truncated: the header takes {length} bytes after the first 8, the file has {size}"
        )
    if length > MOST_HEADER_BYTES:
        raise BundleError(f"{name}: a header of {length} bytes, at most {MOST_HEADER_BYTES} are allowed")
    return length


@dataclass(frozen=True)
class _Entry:
    """One member of a header, not yet trusted."""

    file: str
    tensor: str
    value: object

    def wrong(self, problem: str) -> BundleError:
        return BundleError(f"{self.file}: tensor {self.tensor[:200]!r}: {problem}")

    def dtype(self) -> str:
        dtype = self._member("dtype")
        if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
            raise self.wrong(f"dtype {dtype!r}, allowed are {', '.join(ITEM_BYTES)}")
        return dtype

    def integers(self, member: str) -> tuple[int, ...]:
        values = self._member(member)
        if not isinstance(values, list) or len(values) > 8:
            raise self.wrong(f"{member} is {values!r:.80}, expected a short list of integers")
        if not all(type(value) is int and 0 <= value < 2**63 for value in values):
            raise self.wrong(f"{member} is {values!r:.80}, expected integers of 0 or more")
        return tuple(values)

    def _member(self, member: str) -> object:
        if not isinstance(self.value, dict):
            raise self.wrong(f"found {self.value!r:.80}, expected dtype, shape and data_offsets")
        return self.value.get(member)


def _record(entry: _Entry, path: Path, *, data_offset: int) -> TensorRecord:
    dtype, shape, extent = entry.dtype(), entry.integers("shape"), entry.integers("data_offsets")
    if len(extent) != 2 or extent[0] > extent[1]:
        raise entry.wrong(f"data_offsets {list(extent)}, expected [begin, end]")
    nbytes = math.prod(shape) * ITEM_BYTES[dtype]
    if extent[1] - extent[0] != nbytes:
        raise entry.wrong(f"{extent[1] - extent[0]} bytes, expected {nbytes} for {list(shape)} of {dtype}")
    return TensorRecord(entry.tensor, dtype, shape, entry.file, path, data_offset + extent[0], nbytes)


def _check_extents(file: str, tensors: tuple[TensorRecord, ...], *, data_offset: int, size: int) -> None:
    """The tensors must cover the data without overlap or gap, as the safetensors format demands."""
    if outside := next((record for record in tensors if record.end > size), None):
        raise BundleError(
            f"{file}: truncated: tensor {outside.name!r} ends at byte {outside.end}, the file has {size}"
        )
    position = data_offset
    for record in sorted(tensors, key=lambda record: (record.offset, record.end)):
        if record.offset != position:
            problem = "overlaps the tensor" if record.offset < position else "leaves a gap"
            raise BundleError(
                f"{file}: tensor {record.name!r} begins at byte {record.offset} and {problem} before it, "
                f"expected {position}"
            )
        position = record.end
    if position != size:
        raise BundleError(f"{file}: {size} bytes, expected {position} from the header")


def adjacent_runs(records: list[TensorRecord]) -> Iterator[tuple[TensorRecord, ...]]:
    """Group tensors of one file that lie side by side, so that one read fetches each group."""
    run: list[TensorRecord] = []
    for record in sorted(records, key=lambda record: record.offset):
        if run and record.offset != run[-1].end:
            yield tuple(run)
            run = []
        run.append(record)
    if run:
        yield tuple(run)
