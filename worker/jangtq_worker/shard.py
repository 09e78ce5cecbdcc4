"""The experts one worker holds, asked for partial sums."""

import threading
import time
from dataclasses import dataclass

from jangtq_kernels.backend import LoadedLayer, PartialSums
from jangtq_kernels.errors import KernelInputError
from jangtq_proto.codec import DecodedCall
from jangtq_proto.errors import CallRejectedError, WorkerFaultError


@dataclass(frozen=True)
class Answer:
    """The partial sums of one call, and how long it waited and took."""

    partial_sums: PartialSums
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

    def forward(self, call: DecodedCall) -> Answer:
        """Raises CallRejectedError for a malformed call and WorkerFaultError for answers out of range."""
        asked = time.perf_counter_ns()
        with self._device:
            started = time.perf_counter_ns()
            try:
                partial_sums = self._layers[call.layer].forward(call)
            except KernelInputError as error:
                raise CallRejectedError(f"layer {call.layer}: {error}") from error
            except OverflowError as error:
                raise WorkerFaultError(f"layer {call.layer}: {error}") from error
        finished = time.perf_counter_ns()
        return Answer(partial_sums, queue_ns=started - asked, compute_ns=finished - started)
