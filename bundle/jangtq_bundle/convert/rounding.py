"""Encodes a matrix as codes and norms: nearest centroids, and norms that keep each row's gain."""

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.choices import RoundingName
from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.native_quantization import quantize_stored
from jangtq_kernels.packing import unpack
from jangtq_kernels.rotation import generate_signs, rotate
from jangtq_kernels.stored_weights import StoredMatrix, widen

Encoded = tuple[NDArray[np.uint32], NDArray[np.float16]]
_LARGEST_HALF: Final = 65_504.0


class Rounding(Protocol):
    """Codes uint32 [out, words] and norms float16 [out] of a matrix [out, in]."""

    def encode(self, matrix: StoredMatrix, *, bits: int, seed: int) -> Encoded: ...


class NearestRounding:
    """Each rotated value over its row's norm becomes the nearest centroid, as in the reference."""

    def encode(self, matrix: StoredMatrix, *, bits: int, seed: int) -> Encoded:
        return quantize_stored(matrix, bits=bits, seed=seed)


class UnitGainRounding:
    """The same codes with norms refitted so that a row w and what it became q have <w, q> = <w, w>.

    Centroids are means of their cells, so that <w, q> / <w, w> is one less the mean square error: 0.88 with
    2 bits. A matrix that shrinks its answers by that much changes what follows more than its error does.
    """

    def encode(self, matrix: StoredMatrix, *, bits: int, seed: int) -> Encoded:
        codes, norms = quantize_stored(matrix, bits=bits, seed=seed)
        in_features = matrix.shape[1]
        rotated = rotate(widen(matrix), generate_signs(in_features, seed)).astype(np.float64)
        directions = compute_codebook(in_features, bits)[unpack(codes, bits, in_features)]
        return codes, refit_norms(rotated, directions, norms)


def refit_norms(
    rotated: NDArray[np.float64], directions: NDArray[np.float32], norms: NDArray[np.float16]
) -> NDArray[np.float16]:
    """float16 [out]: <w, w> / <w, d> of each row w of `rotated` [out, in] and d of `directions`.

    The old norm stays where a row is zero or the new norm is no float16.
    """
    squares = np.vecdot(rotated, rotated)
    products = np.vecdot(rotated, directions.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        refitted = squares / products
    is_sound = np.isfinite(refitted) & (refitted > 0) & (refitted <= _LARGEST_HALF)
    return np.where(is_sound, refitted, norms).astype(np.float16)


def open_rounding(name: RoundingName) -> Rounding:
    """The rounding of this name."""
    return UnitGainRounding() if name is RoundingName.UNIT_GAIN else NearestRounding()
