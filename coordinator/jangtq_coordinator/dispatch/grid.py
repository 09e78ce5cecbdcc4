"""Chooses the grid on which a row's answers are added, from values alone, and reads sums off it. Pure.

Why sums on a grid do not depend on placement is proven in jangtq_kernels.grid; this module
keeps its conditions. The first choice depends on the row and the bundle; the decision to ask again and the
second choice depend on the finest exponent of all the row's answers.
"""

import math

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import PREFILL_ROWS_PER_EXPERT
from jangtq_kernels.grid import ANSWER_BITS

SLACK_BITS = 12
"""How much coarser than its finest a row's grid may be: the largest answer then has 14 bits at least."""

PEAK = 4
"""The largest of an answer's thousands of values, relative to the root of their mean square, which the scale
estimates; measured on the demo model, where picked experts have larger answers than others."""

EXPECTED_BITS = ANSWER_BITS - SLACK_BITS // 2
"""Bits of the largest answer on the first grid: the middle of the allowed range if the scale is right."""


def expected_answer_factor(scale: float, hidden_size: int) -> float:
    """The factor from the sum of a row's squares to the largest value expected in its answers."""
    return PEAK * scale / hidden_size


def find_unfit(exponents: NDArray[np.int8], finest: NDArray[np.int8]) -> list[int]:
    """Rows to compute again with their finest exponents: answers did not fit, or lost too many bits."""
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
