"""Reads tensors of a Hugging Face checkpoint by name, as float32 or as stored. Knows no JANGTQ format."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.directory import CONFIG_FILE, Directory
from jangtq_bundle.inventory import Inventory, take_inventory
from jangtq_bundle.json_files import Fields, read_json_object
from jangtq_bundle.shards import TensorRecord
from jangtq_bundle.tensors import open_for_reading, read_into
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.stored_weights import BlockScales, StoredMatrix, WeightType, widen
from jangtq_proto.errors import BundleError

SCALES_SUFFIX: Final = "_scale_inv"
_TYPES: Final[Mapping[str, WeightType]] = {
    "F32": WeightType.FLOAT32,
    "F16": WeightType.FLOAT16,
    "BF16": WeightType.BFLOAT16,
    "F8_E4M3": WeightType.FLOAT8_E4M3,
}
_SQUARE: Final = 128


@dataclass(frozen=True)
class Checkpoint:
    """Its configuration and its tensors; `square` is the side of the blocks that share an FP8 scale."""

    directory: Directory
    config: Mapping[str, object]
    inventory: Inventory
    square: int

    @classmethod
    def open(cls, path: Path) -> "Checkpoint":
        """Read all headers. Raises BundleError naming the file and what is wrong with it."""
        directory = Directory.open(path)
        found = directory.require(CONFIG_FILE, reason="every Hugging Face checkpoint has one")
        config = read_json_object(found, CONFIG_FILE)
        return cls(directory, config, take_inventory(directory), _square(Fields(CONFIG_FILE, config)))

    def record(self, name: str) -> TensorRecord:
        """Raises BundleError where there is no such tensor."""
        record = self.inventory.tensors.get(name)
        if record is None:
            raise BundleError(f"{self.directory.root}: tensor {name!r} is missing")
        return record

    def matrix(self, name: str, *, first: int = 0, end: int | None = None) -> StoredMatrix:
        """Rows from `first` to before `end` of a matrix, as stored. `first` is a multiple of `square`.

        Raises BundleError for anything that is no matrix of floats.
        """
        record = self.record(name)
        if record.dtype not in _TYPES or len(record.shape) != 2:
            raise _unfit(record, f"found {list(record.shape)} of {record.dtype}, expected a matrix of floats")
        rows, columns = record.shape
        end = rows if end is None else min(end, rows)
        row_bytes = record.nbytes // rows
        data = _read(record, first * row_bytes, (end - first) * row_bytes)
        scales = self._scales(record, first, end)
        try:
            return StoredMatrix(data, _TYPES[record.dtype], (end - first, columns), scales)
        except KernelInputError as error:
            raise _unfit(record, str(error)) from error

    def values(self, name: str, *, first: int = 0, end: int | None = None) -> NDArray[np.float32]:
        """float32 [shape]; of a matrix, rows from `first` to before `end`. Raises BundleError."""
        record = self.record(name)
        if len(record.shape) == 2:
            return widen(self.matrix(name, first=first, end=end))
        if record.dtype not in _TYPES:
            raise _unfit(record, f"dtype is {record.dtype}, allowed are {', '.join(_TYPES)}")
        stored = _read(record, 0, record.nbytes).view(_TYPES[record.dtype].dtype)
        return stored.reshape(record.shape).astype(np.float32)

    def _scales(self, record: TensorRecord, first: int, end: int) -> BlockScales | None:
        found = self.inventory.tensors.get(record.name + SCALES_SUFFIX)
        if found is None:
            if record.dtype == "F8_E4M3":
                raise _unfit(record, f"{record.name + SCALES_SUFFIX} is missing, which FP8 weights need")
            return None
        if found.dtype not in _TYPES or len(found.shape) != 2:
            raise _unfit(found, f"found {list(found.shape)} of {found.dtype}, expected a matrix of floats")
        stored = _read(found, 0, found.nbytes).view(_TYPES[found.dtype].dtype)
        values = stored.reshape(found.shape).astype(np.float32)
        return BlockScales(values[first // self.square : -(-end // self.square)], self.square)


def _square(config: Fields) -> int:
    if not config.has("quantization_config"):
        return _SQUARE
    quantization = config.child("quantization_config")
    method = quantization.text("quant_method", default="fp8")
    if method != "fp8":
        raise BundleError(f"{CONFIG_FILE}: quant_method is {method!r}, allowed are fp8 and none")
    size = quantization.members.get("weight_block_size", [_SQUARE, _SQUARE])
    if not isinstance(size, list) or len(size) != 2 or size[0] != size[1] or type(size[0]) is not int:
        raise BundleError(
            f"{CONFIG_FILE}: weight_block_size is {size!r:.80}, expected a square like [128, 128]"
        )
    if not 1 <= size[0] <= 65_536:
        raise BundleError(f"{CONFIG_FILE}: weight_block_size is {size!r}, expected 1 to 65536")
    return int(size[0])


def _read(record: TensorRecord, offset: int, length: int) -> NDArray[np.uint8]:
    data = np.empty(length, dtype=np.uint8)
    with open_for_reading(record.path) as file:
        read_into(file, data, offset=record.offset + offset)
    return data


def _unfit(record: TensorRecord, problem: str) -> BundleError:
    return BundleError(f"{record.file}: tensor {record.name!r}: {problem}")
