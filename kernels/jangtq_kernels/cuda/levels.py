"""Codebooks as halves that tensor cores multiply. Knows no kernel.

Two magnitudes are one half each to float32's accuracy when both are scaled by a number chosen for it. More
of them are the sum of two halves each.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.errors import KernelInputError

EXACT = 2.0**-21
"""What one half a level may be off, of the largest level, to be taken for exact."""

_CANDIDATES = np.arange(1 << 15, 1 << 16, dtype=np.float64) / 64
"""Scaled largest levels that are tried; halves keep 11 bits of each level."""

_SYMMETRY_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Levels:
    """halves: float16 [terms, 8], zeros where there are fewer levels; level i is their sum times `scale`.

    For 4 bits they are the upper half of the codebook in rising order, the sign being a bit of the code; else
    the whole codebook.
    """

    halves: NDArray[np.float16]
    scale: np.float32

    @property
    def terms(self) -> int:
        return len(self.halves)

    def words(self) -> NDArray[np.uint32]:
        """uint32 [2, 4]: of each term the low bytes of the eight halves, then their high bytes."""
        words = np.zeros((2, 4), dtype=np.uint32)
        as_bytes = self.halves.astype("<f2").view(np.uint8).reshape(self.terms, 8, 2)
        words[: self.terms] = np.ascontiguousarray(as_bytes.transpose(0, 2, 1)).view("<u4").reshape(-1, 4)
        return words


def choose_levels(name: str, codebook: NDArray[np.float32], bits: int) -> Levels:
    """Raises KernelInputError for a codebook that is not finite, and for 4 bits one not symmetric about 0."""
    levels = codebook.astype(np.float64)
    if not np.isfinite(levels).all():
        raise KernelInputError(f"{name} has codebook {codebook.tolist()}, which is not finite")
    if bits == 4:
        if np.abs(levels + levels[::-1]).max() > _SYMMETRY_TOLERANCE * np.abs(levels).max():
            raise KernelInputError(f"{name} has codebook {codebook.tolist()}, which is not symmetric about 0")
        levels = levels[8:]
    largest = np.abs(levels).max()
    if largest == 0:
        return Levels(np.zeros((1, 8), dtype=np.float16), np.float32(1))
    return _one_term(levels, largest) or _two_terms(levels, largest)


def _one_term(levels: NDArray[np.float64], largest: float) -> Levels | None:
    """None where no scale makes all levels halves."""
    # The scale is a float32 in the kernels, so that it is rounded before it is judged.
    scales = (largest / _CANDIDATES).astype(np.float32).astype(np.float64)
    halves = (levels / scales[:, None]).astype(np.float16)
    errors = np.abs(halves.astype(np.float64) * scales[:, None] - levels).max(axis=1)
    best = int(errors.argmin())
    return _levels(halves[best : best + 1], scales[best]) if errors[best] <= EXACT * largest else None


def _two_terms(levels: NDArray[np.float64], largest: float) -> Levels:
    scale = float(np.float32(largest / 1024))
    high = (levels / scale).astype(np.float16)
    low = (levels / scale - high.astype(np.float64)).astype(np.float16)
    return _levels(np.stack([high, low]), scale)


def _levels(halves: NDArray[np.float16], scale: float) -> Levels:
    padded = np.zeros((len(halves), 8), dtype=np.float16)
    padded[:, : halves.shape[1]] = halves
    return Levels(padded, np.float32(scale))
