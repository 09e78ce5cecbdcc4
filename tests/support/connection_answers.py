"""Answers of connections that compute in a test."""

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.transport.connection import LayerAnswer
from jangtq_kernels.grid import finest_exponents, grid_scales, magnitudes_of, to_grid
from jangtq_proto.wire.codec import LayerCall


def answer_on_grid(call: LayerCall, answers: NDArray[np.float32], *, compute_ns: int = 0) -> LayerAnswer:
    """Weighted answers, float32 [rows, slots, hidden], on the grids that the call gives."""
    rows, slots, hidden = answers.shape
    scales = np.repeat(grid_scales(call.exponents), slots)
    on_grid = to_grid(answers.reshape(-1, hidden), scales).reshape(answers.shape)
    return LayerAnswer(
        on_grid.sum(axis=1, dtype=np.int32),
        finest_exponents(magnitudes_of(answers.reshape(rows, -1))),
        queue_ns=0,
        compute_ns=compute_ns,
    )
