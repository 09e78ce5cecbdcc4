"""The grid on which weighted answers of experts are added, exactly and in any order. Knows no expert.

Floating-point sums depend on their order, and so on which worker holds which expert. These do not:

1. The weighted answer y of an expert for a row is a float32 vector that depends on the row, the expert and
   the router weight alone. LoadedLayer.forward promises it.
2. A row comes with an exponent e between FINEST and COARSEST. Each y becomes integers y / 2^e, rounded once
   to the nearest, ties to even. The scaling is exact where its result is normal; a result below that becomes
   0 whether it was exact or not.
3. The finest exponent of some answers is that of their largest magnitude less 25, and FINEST at least. With
   it and all coarser ones |y / 2^e| <= (2 - 2^-23) * 2^25 = 2^26 - 4, so that a row's SLOTS answers add up to
   2^31 - 128 at most: neither their sum nor any part of it leaves int32.
4. Sums of integers and maxima are the same for every order and every grouping. So is the finest exponent of
   all answers of a row, the largest of those of any parts of them, and so is their sum on a given grid.
5. The coordinator chooses e from the values of the row and from the finest exponent of all its answers, never
   from the placement. Then the sum times 2^e has the same bits for every placement.

COARSEST is the largest e for which (2^31 - 128) * 2^e is a float32. Larger answers are refused.
"""

import numpy as np
from numpy.typing import NDArray

SLOTS = 32
"""The most answers in a row's sum, over all workers together."""

FINEST, COARSEST = -126, 97

ANSWER_BITS = 26
"""Bits that the magnitude of one answer may have on its grid."""

_MANTISSA_BITS, _BIAS = 23, 127
_FINITE_BELOW = np.uint32(0x7F800000)


def magnitudes_of(answers: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The largest magnitude of each row as the bits of its float32; NaN is above infinity."""
    bits = answers.view(np.uint32) & np.uint32(0x7FFFFFFF)
    largest: NDArray[np.uint32] = bits.max(axis=-1, initial=0)
    return largest


def finest_exponents(magnitudes: NDArray[np.uint32]) -> NDArray[np.int8]:
    """The finest exponent of each row, from `magnitudes_of` all its answers.

    Raises OverflowError where one is not finite or needs an exponent above COARSEST.
    """
    exponents = (magnitudes >> _MANTISSA_BITS).astype(np.int32) - (_BIAS + ANSWER_BITS - 1)
    if (exponents > COARSEST).any():
        worst = magnitudes.max()
        what = "is not finite" if worst >= _FINITE_BELOW else f"is {worst.view(np.float32):.3g}"
        raise OverflowError(f"an answer {what}, allowed are magnitudes below 2^{COARSEST + ANSWER_BITS}")
    return np.maximum(exponents, FINEST).astype(np.int8)


def grid_scales(exponents: NDArray[np.int8]) -> NDArray[np.float32]:
    """2^-e of each row, exact."""
    scales: NDArray[np.float32] = np.ldexp(np.float32(1), -exponents.astype(np.int32))
    return scales


def to_grid(answers: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.int32]:
    """Answers [n, hidden] on the grids of `grid_scales` [n]; those that do not fit lose their values."""
    most = np.float32(1 << ANSWER_BITS)
    with np.errstate(over="ignore"):
        steps = np.clip(answers * scales[:, None], -most, most)
    on_grid: NDArray[np.int32] = np.rint(steps).astype(np.int32)
    return on_grid
