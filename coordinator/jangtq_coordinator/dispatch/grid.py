"""Chooses the grid on which a row's answers are added, from values alone, and reads sums off it. Pure.

Why sums on a grid do not depend on placement is proven in jangtq_kernels.grid; what the proof asks of whoever
chooses the grid is kept here. The first choice depends on the row and the bundle, the decision to ask again
and the second choice on the finest exponent of all the row's answers.
"""

import math

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.exchange_library import Grids, exchange_library
from jangtq_kernels.backend import PREFILL_ROWS_PER_EXPERT
from jangtq_kernels.grid import ANSWER_BITS, COARSEST, FINEST
from jangtq_proto.wire.codec import Rows

SLACK_BITS = 12
"""How much coarser than its finest a row's grid may be: the largest answer then has 14 bits at least."""

PEAK = 4
"""The largest of an answer's thousands of values, over the root of their mean square as the scale tells it;
measured on the demo model, where picked experts answer louder than others."""

_EXPECTED_BITS = ANSWER_BITS - SLACK_BITS // 2
_SMALLEST = 1e-300
GRIDS = Grids(FINEST, COARSEST, SLACK_BITS, _EXPECTED_BITS)


def expected_answer_factor(scale: float, hidden_size: int) -> float:
    """What makes the sum of a row's squares the largest value that its answers are expected to have."""
    return PEAK * scale / hidden_size


def first_exponents(rows: Rows, scale: float) -> NDArray[np.int8]:
    """int8 [rows]: the exponents that leave half of SLACK_BITS on either side if the scale is right.

    Where there is native code, all exponents come from it, since the last bit of a sum depends on its order.
    """
    values, factor = (
        np.ascontiguousarray(rows, dtype=np.float32),
        expected_answer_factor(scale, rows.shape[1]),
    )
    library = exchange_library()
    if library is not None:
        return library.first_exponents(GRIDS, values, factor)
    exact = values.astype(np.float64)
    squares: list[float] = np.vecdot(exact, exact).tolist()
    return np.array([_first_exponent(square * factor) for square in squares], dtype=np.int8)


def _first_exponent(expected_answer: float) -> int:
    """Of what is not finite, some exponent: such rows are refused by whoever computes them."""
    above = math.frexp(max(expected_answer, _SMALLEST))[1] if math.isfinite(expected_answer) else 0
    return min(max(above - _EXPECTED_BITS, FINEST), COARSEST)


def find_misfits(exponents: NDArray[np.int8], finest: NDArray[np.int8]) -> list[int]:
    """The rows to ask again with their finest exponents: their answers did not fit, or lost too many bits."""
    both = zip(exponents.tolist(), finest.tolist(), strict=True)
    return [row for row, (given, needed) in enumerate(both) if not 0 <= given - needed <= SLACK_BITS]


def read_sums(sums: NDArray[np.int32], exponents: NDArray[np.int8]) -> NDArray[np.float32]:
    """Whole sums as float32, rounded once."""
    result = sums.astype(np.float32)
    if len(exponents) == 1:  # the common case of decoding, without an array for it
        result *= math.ldexp(1.0, int(exponents[0]))
    else:
        result *= np.ldexp(np.float32(1), exponents.astype(np.int32))[:, None]
    return result


def is_prefill(expert_ids: NDArray[np.int32]) -> bool:
    """Whether a layer's picked experts, int32 [rows, slots], have PREFILL_ROWS_PER_EXPERT in the mean."""
    if expert_ids.shape[0] < PREFILL_ROWS_PER_EXPERT:
        return False
    picked = int(np.count_nonzero(np.bincount(expert_ids.ravel())))
    return expert_ids.size >= PREFILL_ROWS_PER_EXPERT * picked
