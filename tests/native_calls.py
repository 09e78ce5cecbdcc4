"""Calls put to native answers without a network."""

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jangtq_proto.codec import WireCall
from jangtq_worker.answer_library import AnswerStruct, Bytes, WireCallStruct, answer_library
from jangtq_worker.native_desk import NativeDesk


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
