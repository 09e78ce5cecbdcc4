"""Calls put to native answers without a network, and layers whose native forward a test scripts."""

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import ExpertRows, NativeLayer, PartialSums
from jangtq_kernels.cpu_library import Call, Status
from jangtq_proto.codec import WireCall
from jangtq_worker.answer_library import AnswerStruct, Bytes, WireCallStruct, answer_library
from jangtq_worker.native_desk import NativeDesk

_FORWARD = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4)


@dataclass(frozen=True)
class NativeAnswer:
    """JangtqAnswer."""

    sums: NDArray[np.int32]
    finest: NDArray[np.int8]
    queue_ns: int
    compute_ns: int
    checksum: int


def answer_natively(desk: NativeDesk | None, call: WireCall, hidden_size: int) -> NativeAnswer | None:
    """None where the call is left to Python."""
    library = answer_library()
    assert library is not None and desk is not None, "the library was compiled"
    arrays = [_at_odd_address(bytes(part)) for part in (call.rows, call.expert_ids)]
    arrays += [_at_odd_address(bytes(part)) for part in (call.router_weights, call.exponents)]
    struct = WireCallStruct(
        call.call_id,
        call.layer,
        call.row_count,
        call.slot_count,
        call.row_type,
        *(Bytes(array.ctypes.data, array.nbytes) for array in arrays),
    )
    if not library.is_ordinary(desk.handle, ctypes.addressof(struct)):
        return None
    sums = np.empty((call.row_count, hidden_size), np.int32)
    finest = np.empty(call.row_count, np.int8)
    answer = AnswerStruct(sums.ctypes.data, finest.ctypes.data)
    if not library.answer(desk.handle, ctypes.addressof(struct), ctypes.addressof(answer)):
        return None
    return NativeAnswer(sums, finest, answer.queue_ns, answer.compute_ns, answer.checksum)


def _at_odd_address(data: bytes) -> NDArray[np.uint8]:
    """Where nothing may be taken for aligned, and by memory of exactly this size."""
    memory = np.empty(len(data) + 1, np.uint8)
    memory[1:] = np.frombuffer(data, np.uint8)
    return memory[1:]


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
        self._hidden_size = hidden_size
        self._turn = threading.Lock()
        self._forward = _FORWARD(self._answer)

    @property
    def native(self) -> NativeLayer:
        address = ctypes.cast(self._forward, ctypes.c_void_p).value
        assert address is not None
        return NativeLayer(address, 0, 0, self._hidden_size)

    def forward(self, asked: ExpertRows) -> PartialSums:
        with self._turn:
            self.rows = np.array(asked.rows, dtype=np.float32)
            self.act()
            return PartialSums(self.rows.view(np.int32), asked.exponents)

    def _answer(self, pool: int, layer: int, call_address: int, offender: int) -> int:
        call = Call.from_address(call_address)
        size = call.row_count * self._hidden_size
        rows = np.ctypeslib.as_array((ctypes.c_float * size).from_address(call.rows))
        with self._turn:
            self.rows = rows.reshape(call.row_count, self._hidden_size).copy()
            self.native_calls += 1
            self.asked.set()
            self.act()
        ctypes.memmove(call.sums, call.rows, size * 4)
        ctypes.memmove(call.finest, call.exponents, call.row_count)
        return self.status
