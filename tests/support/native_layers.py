"""Layers whose native forward a test scripts, and admissions that serve them."""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import ExpertRows, NativeLayer, PartialSums
from jangtq_kernels.cpu_library import Call, Status
from jangtq_proto.wire.codec import CallShape
from jangtq_worker.device.admission import Admission
from jangtq_worker.device.shard import Shard

_FORWARD = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4)
_MOST_SECONDS = 30


class ScriptedNativeLayer:
    """Gives back the bits of the rows after it did what a test says, one call at a time, as on the CPU.

    asked: set whenever native code asks; `rows` are those that were asked with last.
    """

    nbytes = 0

    def __init__(self, hidden_size: int, act: Callable[[], object] = lambda: None) -> None:
        self.act = act
        self.status = Status.OK
        self.asked = threading.Event()
        self.rows: NDArray[np.float32] = np.empty((0, hidden_size), np.float32)
        self.native_calls = 0
        self.hidden_size = hidden_size
        self._turn = threading.Lock()
        self._forward = _FORWARD(self._answer)

    @property
    def native(self) -> NativeLayer:
        address = ctypes.cast(self._forward, ctypes.c_void_p).value
        assert address is not None
        return NativeLayer(address, 0, 0, self.hidden_size)

    def forward(self, asked: ExpertRows) -> PartialSums:
        with self._turn:
            self.rows = np.array(asked.rows, dtype=np.float32)
            self.act()
            return PartialSums(self.rows.view(np.int32), asked.exponents)

    def _answer(self, pool: int, layer: int, call_address: int, offender: int) -> int:
        call = Call.from_address(call_address)
        size = call.row_count * self.hidden_size
        rows = np.ctypeslib.as_array((ctypes.c_float * size).from_address(call.rows))
        with self._turn:
            self.rows = rows.reshape(call.row_count, self.hidden_size).copy()
            self.native_calls += 1
            self.asked.set()
            self.act()
        ctypes.memmove(call.sums, call.rows, size * 4)
        ctypes.memmove(call.finest, call.exponents, call.row_count)
        return self.status


def scripted_admission(*layers: ScriptedNativeLayer, max_calls: int | None = None) -> Admission:
    """Layers of one width."""
    admission = Admission(CallShape(len(layers), layers[0].hidden_size), max_streams=16, max_calls=max_calls)
    admission.serve(Shard(layers))
    return admission


@contextmanager
def held_up(layer: ScriptedNativeLayer) -> Iterator[threading.Event]:
    """The layer answers nobody before the event is set, which is so in the end."""
    go_on = threading.Event()
    layer.act = lambda: go_on.wait(_MOST_SECONDS)
    try:
        yield go_on
    finally:
        go_on.set()
