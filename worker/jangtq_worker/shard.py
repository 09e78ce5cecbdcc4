"""The experts one worker holds, asked for partial sums."""

import math
import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import LoadedLayer
from jangtq_kernels.errors import KernelInputError
from jangtq_proto.codec import DecodedCall
from jangtq_proto.errors import CallRejectedError, WorkerFaultError


@dataclass(frozen=True)
class PartialSums:
    """The answer to one call, and how long it waited and took."""

    rows: NDArray[np.float32]
    queue_ns: int
    compute_ns: int


class Shard:
    """Layers of experts on one device. One call computes at a time; the others wait their turn."""

    def __init__(self, layers: tuple[LoadedLayer, ...]) -> None:
        self._layers = layers
        self._device = threading.Lock()

    @property
    def weight_bytes(self) -> int:
        return sum(layer.nbytes for layer in self._layers)

    def forward(self, call: DecodedCall) -> PartialSums:
        """Raises CallRejectedError for a malformed call and WorkerFaultError for a non-finite answer."""
        asked = time.perf_counter_ns()
        with self._device:
            started = time.perf_counter_ns()
            try:
                rows = self._layers[call.layer].forward(call.rows, call.expert_ids, call.router_weights)
            except KernelInputError as error:
                raise CallRejectedError(f"layer {call.layer}: {error}") from error
        finished = time.perf_counter_ns()
        if not math.isfinite(rows.sum()):
            raise WorkerFaultError(f"layer {call.layer}: a partial sum is not finite")
        return PartialSums(rows, queue_ns=started - asked, compute_ns=finished - started)
