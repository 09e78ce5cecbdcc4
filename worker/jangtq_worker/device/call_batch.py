"""Joins several calls for one layer, and splits the answer again. Pure.

A joined call gives each row the bits that it has alone: LoadedLayer.forward promises that.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT, PartialSums
from jangtq_proto.wire.codec import LayerCall

MOST_JOINED_ROWS: Final = 512
"""The first call waits for all; beyond this many rows, reading codes once for all saves little."""


def goes_along(calls: Sequence[LayerCall], other: LayerCall) -> bool:
    """Whether one more call may join these, which are joined already."""
    first = calls[0]
    if (other.layer, other.prefill, other.rows.dtype) != (first.layer, first.prefill, first.rows.dtype):
        return False
    return sum(len(call.rows) for call in calls) + len(other.rows) <= MOST_JOINED_ROWS


def join(calls: Sequence[LayerCall]) -> LayerCall:
    """One call with the rows of all, in order."""
    slots = max(call.expert_ids.shape[1] for call in calls)
    return replace(
        calls[0],
        rows=np.concatenate([call.rows for call in calls]),
        expert_ids=np.concatenate([_widened(call.expert_ids, slots, NO_EXPERT) for call in calls]),
        router_weights=np.concatenate([_widened(call.router_weights, slots, 0) for call in calls]),
        exponents=np.concatenate([call.exponents for call in calls]),
    )


def split(sums: PartialSums, calls: Sequence[LayerCall]) -> list[PartialSums]:
    """The part of each call in the answer to all."""
    ends = np.cumsum([len(call.rows) for call in calls])[:-1]
    parts = zip(np.split(sums.sums, ends), np.split(sums.finest, ends), strict=True)
    return [PartialSums(rows, finest) for rows, finest in parts]


def _widened(slots: NDArray[np.generic], count: int, filler: float) -> NDArray[np.generic]:
    missing = count - slots.shape[1]
    return np.pad(slots, [(0, 0), (0, missing)], constant_values=filler) if missing else slots
