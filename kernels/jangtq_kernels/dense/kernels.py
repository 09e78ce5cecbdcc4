"""Products with dense matrices and attention on the CPU, on bytes as bundle and KV cache hold them."""

import ctypes
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.cpu_library import Status, native_library
from jangtq_kernels.dense.library import Attention, Dense, DenseCall, DenseLibrary
from jangtq_kernels.errors import BackendMissingError, KernelInputError

AFFINE_BITS = (4, 6, 8)
GROUP_SIZES = (32, 64, 128)


class NumberType(IntEnum):
    """JangtqNumber: what scales and biases, or plain numbers, are stored as."""

    FLOAT32 = 0
    FLOAT16 = 1
    BFLOAT16 = 2

    @property
    def nbytes(self) -> int:
        return 4 if self is NumberType.FLOAT32 else 2


@dataclass(frozen=True)
class DenseMatrix:
    """A matrix [out, in]: MLX's affine codes, or plain numbers where `bits` is 0. Keeps its arrays.

    codes: uint32 [out, in * bits / 32], or [out, in] of `number`, where 16-bit floats may stand as uint16.
    scales, biases: [out, in / group_size] of `number`; None of plain numbers.
    Raises KernelInputError for what does not fit together.
    """

    codes: NDArray[np.generic]
    scales: NDArray[np.generic] | None = None
    biases: NDArray[np.generic] | None = None
    bits: int = 0
    group_size: int = 0
    number: NumberType = NumberType.FLOAT32

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or 0 in self.codes.shape:
            raise KernelInputError(f"codes of shape {self.codes.shape}: expected [out, in]")
        if self.bits:
            self._check_affine()
        elif self.codes.itemsize != self.number.nbytes:
            raise KernelInputError(f"numbers of {self.codes.itemsize} bytes are not {self.number.name}")
        for part in (self.codes, self.scales, self.biases):
            if part is not None and not part.flags.c_contiguous:
                raise KernelInputError("codes, scales and biases must be contiguous")

    @property
    def out(self) -> int:
        return int(self.codes.shape[0])

    @property
    def in_features(self) -> int:
        width = int(self.codes.shape[1])
        return width * 32 // self.bits if self.bits else width

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (self.codes, self.scales, self.biases) if part is not None)

    def structure(self) -> Dense:
        """For the library, good as long as this lives."""
        return Dense(
            codes=self.codes.ctypes.data,
            scales=None if self.scales is None else self.scales.ctypes.data,
            biases=None if self.biases is None else self.biases.ctypes.data,
            out=self.out,
            **{"in": self.in_features},
            bits=self.bits,
            group=self.group_size,
            number=self.number,
        )

    def _check_affine(self) -> None:
        if self.bits not in AFFINE_BITS:
            raise KernelInputError(f"bits {self.bits}: allowed are 4, 6 and 8")
        if self.group_size not in GROUP_SIZES:
            raise KernelInputError(f"group_size {self.group_size}: allowed are 32, 64 and 128")
        if self.codes.dtype != np.uint32:
            raise KernelInputError(f"codes of {self.codes.dtype}: expected uint32")
        groups = (self.out, self.in_features // self.group_size)
        for name, part in (("scales", self.scales), ("biases", self.biases)):
            if part is None or part.shape != groups or part.itemsize != self.number.nbytes:
                found = "none" if part is None else f"{part.dtype} {part.shape}"
                raise KernelInputError(f"{name}: {found}, expected {self.number.name} {groups}")


@dataclass(frozen=True)
class KvColumns:
    """Keys or values of a layer: parts as the KV cache stores them, [rows, heads, columns, *] contiguous.

    parts: one float32 array, or codes, scales and biases of `bits`, as DenseMatrix has them.
    """

    parts: tuple[NDArray[np.generic], ...]
    bits: int = 0
    group_size: int = 0
    number: NumberType = NumberType.FLOAT32

    def matrix(self) -> DenseMatrix:
        """Every head's column of every row is a row of it."""
        flat = [part.reshape(math.prod(part.shape[:3]), part.shape[3]) for part in self.parts]
        scales, biases = (flat[1], flat[2]) if self.bits else (None, None)
        return DenseMatrix(flat[0], scales, biases, self.bits, self.group_size, self.number)


class DenseKernels:
    """`threads` compute a call together; None takes every core. `isa` names an instruction set, for tests.

    Every row's numbers have the same bits alone and among others, whatever the threads. Calls take turns.
    """

    def __init__(self, threads: int | None = None, *, isa: str | None = None) -> None:
        library = native_library()
        self.threads = threads or os.cpu_count() or 1
        self.isa = isa or library.isas[0]
        if self.isa not in library.isas:
            raise BackendMissingError(f"instruction set {isa!r}: this machine runs {library.isas}")
        self._pool = library.open_pool(self.threads, self.isa, int8=False)
        self._library = DenseLibrary(library)

    def multiply(
        self, rows: NDArray[np.float32], matrices: Sequence["LoadedMatrix"]
    ) -> list[NDArray[np.float32]]:
        """Each matrix's products [rows, out] with rows [rows, in], float32."""
        return self.multiply_in_place(np.require(rows, np.float32, ["C", "A"]), MatrixSet(matrices))

    def multiply_in_place(
        self, rows: NDArray[np.float32], matrices: "MatrixSet"
    ) -> list[NDArray[np.float32]]:
        """The same for rows that are contiguous float32, and matrices that are asked together again."""
        if rows.ndim != 2 or rows.shape[1] != matrices.in_features:
            raise KernelInputError(f"rows of shape {rows.shape}: expected [rows, {matrices.in_features}]")
        products = [np.empty((rows.shape[0], out), np.float32) for out in matrices.outs]
        addresses = (ctypes.c_void_p * len(products))(*(product.ctypes.data for product in products))
        call = DenseCall(
            rows=rows.ctypes.data,
            row_count=rows.shape[0],
            matrices=ctypes.addressof(matrices.structures),
            products=ctypes.addressof(addresses),
            matrix_count=len(products),
        )
        _check(self._library.multiply(self._pool, call))
        return products

    def look_up(self, matrix: "LoadedMatrix", ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Rows of a matrix [*ids, in]. Raises KernelInputError for an id beyond it."""
        flat = np.ascontiguousarray(ids, np.int32).reshape(-1)
        rows = np.empty((flat.size, matrix.matrix.in_features), np.float32)
        if self._library.look_up(self._pool, matrix.structure, flat, rows) is Status.MATRICES_UNFIT:
            raise KernelInputError(
                f"ids {flat.min()} to {flat.max()}: allowed are 0 to {matrix.matrix.out - 1}"
            )
        return rows.reshape(*ids.shape, -1)

    def attend(
        self,
        queries: NDArray[np.float32],
        keys: KvColumns,
        values: KvColumns,
        *,
        lengths: Sequence[int],
        scale: float,
    ) -> NDArray[np.float32]:
        """Causal attention of the last tokens of every row, [rows, tokens, heads * head size].

        queries: float32 [rows, heads, tokens, head size]; neighbouring heads share keys and values.
        lengths: each row's columns in use, those of the queries' tokens included.
        """
        queries = np.require(queries, np.float32, ["C", "A"])
        rows, heads, tokens, size = queries.shape
        held = keys.parts[0].shape
        if held[0] != rows or len(lengths) != rows or heads % held[1]:
            raise KernelInputError(f"queries {queries.shape} do not fit keys {held} of {len(lengths)} rows")
        key_matrix, value_matrix = keys.matrix(), values.matrix()
        if key_matrix.in_features != size or value_matrix.out != key_matrix.out:
            raise KernelInputError(f"queries {queries.shape} do not fit keys of {key_matrix.in_features}")
        counts = np.array(lengths, np.int64)
        answers = np.empty((rows, tokens, heads * value_matrix.in_features), np.float32)
        call = Attention(
            queries=queries.ctypes.data,
            keys=key_matrix.structure(),
            values=value_matrix.structure(),
            lengths=counts.ctypes.data,
            rows=rows,
            heads=heads,
            kv_heads=held[1],
            tokens=tokens,
            columns=held[2],
            scale=scale,
            answers=answers.ctypes.data,
        )
        if self._library.attend(self._pool, call) is Status.MATRICES_UNFIT:
            raise KernelInputError(f"lengths {list(lengths)}: allowed are {tokens} to {held[2]}")
        return answers


class LoadedMatrix:
    """A matrix and its structure, which hold each other's arrays alive."""

    def __init__(self, matrix: DenseMatrix) -> None:
        self.matrix = matrix
        self.structure = matrix.structure()


class MatrixSet:
    """Matrices of one width that multiply the same rows."""

    def __init__(self, matrices: Sequence[LoadedMatrix]) -> None:
        self._kept = tuple(matrices)
        self.in_features = matrices[0].matrix.in_features
        self.outs = [each.matrix.out for each in matrices]
        self.structures = (Dense * len(matrices))(*(each.structure for each in matrices))


def _check(status: Status) -> None:
    if status is Status.MATRICES_UNFIT:
        raise KernelInputError("matrices do not fit each other")
    if status is not Status.OK:
        raise MemoryError("the cpu backend ran out of memory")
