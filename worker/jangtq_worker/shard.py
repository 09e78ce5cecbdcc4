"""The experts one worker holds, asked for partial sums."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jangtq_kernels.backend import LoadedLayer, PartialSums
from jangtq_kernels.errors import KernelInputError
from jangtq_proto.codec import LayerCall
from jangtq_proto.errors import CallRejectedError, WorkerFaultError
from jangtq_worker.joining import goes_along, join, split
from jangtq_worker.turns import Turns


class Answer(NamedTuple):
    """The partial sums of one call, and how long it waited and took.

    Calls that were computed together share what that took by their rows; the rest of it was waiting.
    """

    partial_sums: PartialSums
    queue_ns: int
    compute_ns: int


class _Computed(NamedTuple):
    partial_sums: PartialSums
    compute_ns: int


class Shard:
    """Layers of experts on one device. Streams take turns; calls for one layer that wait are one."""

    def __init__(self, layers: tuple[LoadedLayer, ...]) -> None:
        self.layers = layers
        self._turns = Turns(self._compute, goes_along)

    def hold(self, layers: tuple[LoadedLayer, ...]) -> None:
        """From the next call on ask these layers instead."""
        self.layers = layers

    def share_device(self, until_free: Callable[[], None]) -> None:
        """With others, for whom `until_free` waits."""
        self._turns.until_free = until_free

    @property
    def weight_bytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)

    @property
    def waiting(self) -> int:
        """Calls that wait for the device now."""
        return self._turns.waiting

    def forward(self, call: LayerCall) -> Answer:
        """Raises CallRejectedError for a malformed call and WorkerFaultError for answers out of range."""
        asked = time.perf_counter_ns()
        computed = self._turns.take(call)
        waited = time.perf_counter_ns() - asked - computed.compute_ns
        return Answer(computed.partial_sums, queue_ns=waited, compute_ns=computed.compute_ns)

    def _compute(self, calls: Sequence[LayerCall]) -> list[_Computed | BaseException]:
        if len(calls) > 1:
            try:
                return [*self._compute_together(calls)]
            except Exception:  # whose call it was shows when each is computed alone
                pass
        return [self._compute_one(call) for call in calls]

    def _compute_together(self, calls: Sequence[LayerCall]) -> list[_Computed]:
        started = time.perf_counter_ns()
        sums = self.layers[calls[0].layer].forward(join(calls))
        nanoseconds_a_row = (time.perf_counter_ns() - started) / len(sums.finest)
        return [_Computed(part, int(nanoseconds_a_row * len(part.finest))) for part in split(sums, calls)]

    def _compute_one(self, call: LayerCall) -> _Computed | BaseException:
        started = time.perf_counter_ns()
        try:
            partial_sums = self.layers[call.layer].forward(call)
        except KernelInputError as error:
            return CallRejectedError(f"layer {call.layer}: {error}")
        except OverflowError as error:
            return WorkerFaultError(f"layer {call.layer}: {error}")
        except Exception as error:
            return error
        return _Computed(partial_sums, time.perf_counter_ns() - started)
