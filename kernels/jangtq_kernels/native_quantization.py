"""Stored matrices to codes and norms by the compiled library, or by NumPy where there is none."""

import ctypes
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.cpu_library import LIBRARY, native_library
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.packing import codes_per_word
from jangtq_kernels.quantization import quantize
from jangtq_kernels.rotation import generate_signs
from jangtq_kernels.stored_weights import StoredMatrix, widen

_LARGEST_HALF: Final = 65_504.0


class _Job(ctypes.Structure):
    """JangtqQuantization of quantize.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("weights", "scales", "signs", "midpoints", "codes", "norms")),
        *((name, ctypes.c_int64) for name in ("type", "block", "scale_columns")),
        *((name, ctypes.c_int64) for name in ("first_row", "end_row", "in_features", "bits")),
    ]


def quantize_stored(
    matrix: StoredMatrix, *, bits: int, seed: int
) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
    """Codes uint32 [out, words] and norms float16 [out] of a matrix [out, in], as `quantize` gives them.

    Sums have the order of the reference converter on a CPU, so that codes and norms equal its own to the bit.
    Uses one thread and gives up the GIL. Raises KernelInputError where a weight is not finite
    or a row's norm is no float16.
    """
    if not LIBRARY.exists():
        return quantize(_finite(widen(matrix)), bits=bits, seed=seed)
    rows, columns = matrix.shape
    codes = np.empty((rows, -(-columns // codes_per_word(bits))), dtype=np.uint32)
    norms = np.empty(rows, dtype=np.float32)
    codebook, signs = compute_codebook(columns, bits), generate_signs(columns, seed)
    midpoints = (codebook[:-1] + codebook[1:]) / np.float32(2)
    scales = None if matrix.scales is None else np.ascontiguousarray(matrix.scales.values, dtype=np.float32)
    data = np.ascontiguousarray(matrix.data)
    job = _Job(
        weights=data.ctypes.data,
        scales=None if scales is None else scales.ctypes.data,
        signs=signs.ctypes.data,
        midpoints=midpoints.ctypes.data,
        codes=codes.ctypes.data,
        norms=norms.ctypes.data,
        type=matrix.type,
        block=matrix.scales.size if matrix.scales else 0,
        scale_columns=scales.shape[1] if scales is not None else 0,
        first_row=0,
        end_row=rows,
        in_features=columns,
        bits=bits,
    )
    if native_library().quantize(ctypes.addressof(job)):
        raise KernelInputError("a weight is not finite")
    return codes, _as_half(norms)


def _as_half(norms: NDArray[np.float32]) -> NDArray[np.float16]:
    if norms.max(initial=0) > _LARGEST_HALF:
        raise KernelInputError(f"a row's norm is {norms.max():g}, allowed are norms up to {_LARGEST_HALF:g}")
    return norms.astype(np.float16)


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise KernelInputError("a weight is not finite")
    _as_half(np.sqrt(np.vecdot(values, values)))
    return values
