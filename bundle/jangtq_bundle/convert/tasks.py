"""Decides for each tensor of a checkpoint: copy it, quantize it by MLX, or encode it as experts."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.config import ModelConfig
from jangtq_bundle.convert.checkpoint import Checkpoint
from jangtq_bundle.convert.rounding import Rounding
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.metadata import AFFINE_BITS, AFFINE_GROUP_SIZE, PADDING_BIAS
from jangtq_bundle.schema import expected_tensors
from jangtq_bundle.vocabulary import (
    ONE_BY_ONE_NAMES,
    Layout,
    Part,
    Projection,
    moe_prefix,
    single_name,
    stacked_name,
    words_per_row,
)
from jangtq_bundle.writing.shard_file import ShardFile
from jangtq_bundle.writing.shard_plan import NewTensor
from jangtq_kernels.errors import KernelInputError
from jangtq_proto.errors import BundleError

Step = Callable[[Checkpoint, ShardFile], None]
_ROWS_AT_ONCE: Final = 8192
"""Of a matrix that MLX quantizes; a multiple of every block of FP8 scales that divides it."""
_mlx = threading.Lock()


class Task(Protocol):
    """Some tensors of the bundle that belong together, and the steps that write them, in any order."""

    def tensors(self) -> tuple[NewTensor, ...]: ...

    def steps(self) -> Iterator[Step]: ...


@dataclass(frozen=True)
class CopyTask:
    """A tensor rounded to float16, with `padding` for each padding expert along its first axis."""

    name: str
    shape: tuple[int, ...]
    padding: float = 0.0

    def tensors(self) -> tuple[NewTensor, ...]:
        return (NewTensor(self.name, "F16", self.shape),)

    def steps(self) -> Iterator[Step]:
        yield self._copy

    def _copy(self, source: Checkpoint, target: ShardFile) -> None:
        values = source.values(self.name).astype(np.float16)
        missing = self.shape[0] - values.shape[0]
        padded = np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1), constant_values=self.padding)
        target.write(self.name, padded)


@dataclass(frozen=True)
class AffineTask:
    """A matrix [out, in] as 8-bit affine codes with scales and biases of groups of 64."""

    base: str
    shape: tuple[int, int]

    def tensors(self) -> tuple[NewTensor, ...]:
        rows, columns = self.shape
        groups = (rows, columns // AFFINE_GROUP_SIZE)
        return (
            NewTensor(f"{self.base}.weight", "U32", (rows, columns * AFFINE_BITS // 32)),
            NewTensor(f"{self.base}.scales", "F16", groups),
            NewTensor(f"{self.base}.biases", "F16", groups),
        )

    def steps(self) -> Iterator[Step]:
        yield self._quantize

    def _quantize(self, source: Checkpoint, target: ShardFile) -> None:
        at = [0, 0, 0]
        rows_at_once = max(1, _ROWS_AT_ONCE // source.square) * source.square
        for first in range(0, self.shape[0], rows_at_once):
            values = source.values(f"{self.base}.weight", first=first, end=first + rows_at_once)
            for index, (tensor, part) in enumerate(zip(self.tensors(), _affine(values), strict=True)):
                target.write(tensor.name, part, at=at[index])
                at[index] += part.nbytes


@dataclass(frozen=True)
class ExpertsTask:
    """One projection of the experts of one layer, or of one of them in the one-by-one layout."""

    config: ModelConfig
    layer: int
    projection: Projection
    rounding: Rounding
    single: int | None = None

    def tensors(self) -> tuple[NewTensor, ...]:
        stack = () if self.single is not None else (self.config.expert_count,)
        return (
            NewTensor(self._name(Part.CODES), "U32", (*stack, *self._codes_shape)),
            NewTensor(self._name(Part.NORMS), "F16", (*stack, self._codes_shape[0])),
            NewTensor(self._name(Part.BITS), "U8", (1,)),
        )

    def steps(self) -> Iterator[Step]:
        yield self._write_bits
        experts = range(self.config.expert_count) if self.single is None else (self.single,)
        for place, expert in enumerate(experts):
            yield self._encoder(expert, place)

    @property
    def _codes_shape(self) -> tuple[int, int]:
        words = words_per_row(self.config.in_features(self.projection), self._bits)
        return self.config.out_features(self.projection), words

    @property
    def _bits(self) -> int:
        return self.config.bits.of(self.projection)

    def _name(self, part: Part) -> str:
        if self.single is None:
            return stacked_name(self.layer, self.projection, part)
        return single_name(self.layer, self.single, projection=self.projection, part=part)

    def _write_bits(self, source: Checkpoint, target: ShardFile) -> None:
        target.write(self._name(Part.BITS), np.array([self._bits], dtype=np.uint8))

    def _encoder(self, expert: int, place: int) -> Step:
        def encode(source: Checkpoint, target: ShardFile) -> None:
            codes, norms = self._encode(source, expert)
            target.write(self._name(Part.CODES), codes, part=place, at=place * codes.nbytes)
            target.write(self._name(Part.NORMS), norms, part=place, at=place * norms.nbytes)

        return encode

    def _encode(self, source: Checkpoint, expert: int) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
        if expert >= self.config.original_expert_count:
            rows = self._codes_shape[0]
            return np.zeros(self._codes_shape, dtype=np.uint32), np.zeros(rows, dtype=np.float16)
        prefix = f"{moe_prefix(self.layer)}.experts.{expert}"
        record = source.record(f"{prefix}.{ONE_BY_ONE_NAMES[self.projection]}.weight")
        matrix = source.matrix(record.name)
        try:
            return self.rounding.encode(matrix, bits=self._bits, seed=self.config.seed)
        except KernelInputError as error:
            raise BundleError(f"{record.file}: tensor {record.name!r}: {error}") from error


def plan_tasks(config: ModelConfig, layout: Layout, rounding: Rounding) -> Iterator[Task]:
    """All tensors of the bundle, in the order of its schema."""
    for rule in expected_tensors(config, layout, Holdings.whole(config.expert_count)):
        layer = _layer_of(rule.name)
        if rule.name.endswith(f".{Part.CODES}"):
            projection, single = _expert_of(rule.name)
            yield ExpertsTask(config, layer, projection, rounding, single)
        elif rule.name.endswith(".weight") and rule.dtypes == ("U32",):
            columns = rule.shape[1] * 32 // AFFINE_BITS
            yield AffineTask(rule.name.removesuffix(".weight"), (rule.shape[0], columns))
        elif rule.name.endswith("e_score_correction_bias"):
            yield CopyTask(rule.name, rule.shape, PADDING_BIAS)
        elif not rule.name.endswith((".scales", ".biases", f".{Part.NORMS}", f".{Part.BITS}")):
            yield CopyTask(rule.name, rule.shape)


def _layer_of(name: str) -> int:
    return int(name.split(".")[2]) if name.startswith("model.layers.") else -1


def _expert_of(name: str) -> tuple[Projection, int | None]:
    parts = name.split(".")
    if ".switch_mlp." in name:
        return Projection(parts[-2]), None
    by_name = {short: projection for projection, short in ONE_BY_ONE_NAMES.items()}
    return by_name[parts[-2]], int(parts[-3])


def _affine(values: NDArray[np.float32]) -> tuple[NDArray[np.generic], ...]:
    """Codes, scales and biases, by MLX on the CPU, so that every machine writes the same bytes."""
    import mlx.core as mx

    with _mlx, mx.stream(mx.cpu):
        rounded = mx.array(values.astype(np.float16))
        parts = mx.quantize(rounded, group_size=AFFINE_GROUP_SIZE, bits=AFFINE_BITS)
        return tuple(np.array(part) for part in parts)
