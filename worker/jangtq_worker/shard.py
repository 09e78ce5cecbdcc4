"""The experts one worker holds: loaded a layer at a time, then asked for partial sums."""

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.bundle import Bundle
from jangtq_kernels.backend import Backend, LoadedLayer
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
        if not np.isfinite(rows.sum()):
            raise WorkerFaultError(f"layer {call.layer}: a partial sum is not finite")
        return PartialSums(rows, queue_ns=started - asked, compute_ns=finished - started)


def load_shard(
    bundle: Bundle,
    backend: Backend,
    experts: tuple[int, ...],
    *,
    on_layer: Callable[[int], None] = lambda done: None,
) -> Shard:
    """Read the experts of every layer; `on_layer` hears how many layers are there. Raises BundleError."""
    layers: list[LoadedLayer] = []
    for layer in range(bundle.config.layer_count):
        layers.append(backend.load(bundle.read_experts(layer, experts)))
        _return_free_memory()
        on_layer(layer + 1)
    return Shard(tuple(layers))


def _return_free_memory() -> None:
    """What a backend laid out anew leaves a hole of its size, which glibc would keep."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
