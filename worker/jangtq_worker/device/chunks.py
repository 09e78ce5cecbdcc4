"""Cuts a long call into slices, and puts their answers together. Pure.

A slice gives each row the bits that it has in the whole call: LoadedLayer.forward promises that.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from jangtq_kernels.backend import PartialSums
from jangtq_proto.wire.codec import LayerCall

SLICE_ROWS: Final = 128
"""A short call waits for at most this many rows of a long one, if rows take long. On the CPU 512 rows take
1.1 to 1.2 times as long in such slices, which read weights again, and 1.3 to 1.45 times in slices of 64."""
SLICE_NS: Final = 10_000_000
"""Slices that take less get longer: shorter ones save others little, and Metal's tiles need many rows."""


def is_long(call: LayerCall) -> bool:
    """Whether the call may be more than one slice."""
    return len(call.rows) > SLICE_ROWS


def slice_rows(row_ns: float) -> int:
    """The most rows of a slice where a row takes so long, as far as is known; 0 where it is not."""
    return max(SLICE_ROWS, int(SLICE_NS / row_ns)) if row_ns else SLICE_ROWS


def slice_end(done: int, rows: int, most: int) -> int:
    """Where the slice of `most` rows at most that begins at `done` ends; the rest will be about as long."""
    left = rows - done
    slices = -(-left // most)
    return done + -(-left // slices)


def cut(call: LayerCall, first: int, end: int) -> LayerCall:
    """The rows from `first` to before `end`; everything else, `prefill` too, is the whole call's."""
    return replace(
        call,
        rows=call.rows[first:end],
        expert_ids=call.expert_ids[first:end],
        router_weights=call.router_weights[first:end],
        exponents=call.exponents[first:end],
    )


def put_together(parts: Sequence[PartialSums]) -> PartialSums:
    """The answer to all slices, from first to last."""
    if len(parts) == 1:
        return parts[0]
    return PartialSums(
        np.concatenate([part.sums for part in parts]), np.concatenate([part.finest for part in parts])
    )
