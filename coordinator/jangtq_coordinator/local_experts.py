"""Experts that the coordinator holds itself, behind the same lane as a worker's."""

import itertools
import time

from jangtq_coordinator.lane import GiveUp, LayerAnswer, never
from jangtq_kernels.backend import LoadedLayer
from jangtq_kernels.errors import KernelInputError
from jangtq_proto.codec import LayerCall
from jangtq_proto.errors import CallRejectedError, WorkerFaultError


class LocalLane:
    """Computes in `receive`, so that workers compute meanwhile."""

    def __init__(self, layers: tuple[LoadedLayer, ...]) -> None:
        self._layers = layers
        self._ids = itertools.count(1)
        self._calls: dict[int, LayerCall] = {}

    @property
    def weight_bytes(self) -> int:
        return sum(layer.nbytes for layer in self._layers)

    def send(self, call: LayerCall) -> int:
        call_id = next(self._ids)
        self._calls[call_id] = call
        return call_id

    def receive(self, call_id: int, give_up: GiveUp = never) -> LayerAnswer:
        call = self._calls.pop(call_id)
        started = time.perf_counter_ns()
        try:
            found = self._layers[call.layer].forward(call)
        except KernelInputError as error:
            raise CallRejectedError(f"layer {call.layer}, local experts: {error}") from error
        except OverflowError as error:
            raise WorkerFaultError(f"layer {call.layer}, local experts: {error}") from error
        compute_ns = time.perf_counter_ns() - started
        return LayerAnswer(found.sums, found.finest, queue_ns=0, compute_ns=compute_ns)

    def abandon(self) -> None:
        self._calls.clear()

    def close(self) -> None:
        self._layers = ()
