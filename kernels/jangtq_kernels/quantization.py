"""Dense weights to codes and norms, and back: a norm a row, and its direction in rotated coordinates."""

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.packing import pack, unpack
from jangtq_kernels.rotation import generate_signs, rotate, rotate_back
from jangtq_kernels.weights import PackedMatrix

_LEAST_NORM = np.float32(1e-10)


def quantize(
    weights: NDArray[np.float32], *, bits: int, seed: int
) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
    """Codes uint32 [..., out, words] and norms float16 [..., out] of weights float32 [..., out, in].

    Rotates in float32, like the reference, so that equal weights give equal codes; a value halfway
    between two centroids takes the lower one.
    """
    in_features = weights.shape[-1]
    codebook = compute_codebook(in_features, bits)
    rotated = rotate(np.asarray(weights, dtype=np.float32), generate_signs(in_features, seed))
    norms = np.sqrt(np.sum(rotated * rotated, axis=-1, keepdims=True))
    directions = rotated / np.maximum(norms, _LEAST_NORM)
    midpoints = (codebook[:-1] + codebook[1:]) / np.float32(2)
    codes = np.searchsorted(midpoints, directions, side="left")
    return pack(codes, bits), norms[..., 0].astype(np.float16)


def dequantize_rotated(matrix: PackedMatrix) -> NDArray[np.float64]:
    """float64 [experts, out, in]: codebook values times norms, in rotated coordinates."""
    codes = unpack(matrix.codes, matrix.bits, matrix.in_features)
    return matrix.codebook.astype(np.float64)[codes] * matrix.norms.astype(np.float64)[..., None]


def dequantize(matrix: PackedMatrix) -> NDArray[np.float64]:
    """float64 [experts, out, in] in the original coordinates, as a dense layer would hold them."""
    return rotate_back(dequantize_rotated(matrix), matrix.signs)
