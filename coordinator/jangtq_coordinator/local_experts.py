"""Experts that the coordinator holds itself, behind the same lane as a worker's."""

import time

from jangtq_coordinator.lane import LayerAnswer, LayerCall
from jangtq_kernels.backend import LoadedLayer
from jangtq_kernels.errors import KernelInputError
from jangtq_proto.errors import CallRejectedError


class LocalLane:
    """Computes in `receive`, so that workers compute meanwhile."""

    def __init__(self, layers: tuple[LoadedLayer, ...]) -> None:
        self._layers = layers
        self._call: LayerCall | None = None

    @property
    def weight_bytes(self) -> int:
        return sum(layer.nbytes for layer in self._layers)

    def send(self, call: LayerCall) -> None:
        self._call = call

    def receive(self) -> LayerAnswer:
        call, self._call = self._call, None
        if call is None:
            raise RuntimeError("receive without send")
        started = time.perf_counter_ns()
        try:
            sums = self._layers[call.layer].forward(call.rows, call.expert_ids, call.router_weights)
        except KernelInputError as error:
            raise CallRejectedError(f"layer {call.layer}, local experts: {error}") from error
        return LayerAnswer(sums, queue_ns=0, compute_ns=time.perf_counter_ns() - started)

    def abandon(self) -> None:
        self._call = None

    def close(self) -> None:
        self._layers = ()
