"""Dense matrices as checkpoints store them, and their values as float32. Knows no file."""

from dataclasses import dataclass
from enum import IntEnum

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.errors import KernelInputError


class WeightType(IntEnum):
    """How a value is stored; the numbers are those of JangtqWeightType in quantize.h."""

    FLOAT32 = 0
    FLOAT16 = 1
    BFLOAT16 = 2
    FLOAT8_E4M3 = 3

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the stored values."""
        return np.dtype(_DTYPES[self])


_DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)


@dataclass(frozen=True)
class BlockScales:
    """The factor of each square of `size` rows and columns: float32 [rows, columns]."""

    values: NDArray[np.float32]
    size: int = 128


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix [rows, in_features]: its bytes, uint8 [rows * in_features * item size], and how to read them.

    Raises KernelInputError where bytes, shape and scales do not belong together.
    """

    data: NDArray[np.uint8]
    type: WeightType
    shape: tuple[int, int]
    scales: BlockScales | None = None

    def __post_init__(self) -> None:
        rows, columns = self.shape
        expected = rows * columns * self.type.dtype.itemsize
        if self.data.nbytes != expected:
            raise KernelInputError(f"{self.data.nbytes} bytes, expected {expected} for {list(self.shape)}")
        if self.scales is None:
            return
        size, found = self.scales.size, self.scales.values.shape
        squares = (-(-rows // size), -(-columns // size))
        if found != squares:
            raise KernelInputError(f"scales {list(found)}, expected {list(squares)} for squares of {size}")


def widen(matrix: StoredMatrix) -> NDArray[np.float32]:
    """float32 [rows, in_features]: the stored values times their scales, each rounded once."""
    values = matrix.data.view(matrix.type.dtype).reshape(matrix.shape).astype(np.float32)
    if matrix.scales is None:
        return values
    size, (rows, columns) = matrix.scales.size, matrix.shape
    scales = np.repeat(np.repeat(matrix.scales.values, size, axis=0), size, axis=1)
    return np.asarray(values * scales[:rows, :columns], dtype=np.float32)
