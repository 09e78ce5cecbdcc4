"""Calls put to native answers without a network, and a admission of real experts for them."""

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np
from jangtq_worker.native_admission import NativeAdmission
from jangtq_worker.native_library import AnswerStruct, Bytes, WireCallStruct, answer_library
from numpy.typing import NDArray

from jangtq_kernels.cpu import CpuBackend
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.codec import CallShape, LayerCall, WireCall, encode_call
from jangtq_proto.wire.row_type import RowType
from jangtq_worker.device.admission import Admission
from jangtq_worker.device.shard import Shard
from tests.support.metal_cases import FIRST_EXPERT, random_layer

HIDDEN, EXPERTS, LAYERS = 64, 4, 3
SHAPE = CallShape(LAYERS, HIDDEN)
MOST_ROWS = 64
"""Of an ordinary call."""


@dataclass(frozen=True)
class NativeAnswer:
    """JangtqAnswer."""

    sums: NDArray[np.int32]
    finest: NDArray[np.int8]
    queue_ns: int
    compute_ns: int
    checksum: int


def answer_natively(admission: NativeAdmission | None, call: WireCall) -> NativeAnswer | None:
    """None where the call is left to Python."""
    library = answer_library()
    assert library is not None and admission is not None, "the library was compiled"
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
    if not library.is_ordinary(admission.handle, ctypes.addressof(struct)):
        return None
    sums = np.empty((call.row_count, HIDDEN), np.int32)
    finest = np.empty(call.row_count, np.int8)
    answer = AnswerStruct(sums.ctypes.data, finest.ctypes.data)
    if not library.answer(admission.handle, ctypes.addressof(struct), ctypes.addressof(answer)):
        return None
    return NativeAnswer(sums, finest, answer.queue_ns, answer.compute_ns, answer.checksum)


def _at_odd_address(data: bytes) -> NDArray[np.uint8]:
    """Where nothing may be taken for aligned, and by memory of exactly this size."""
    memory = np.empty(len(data) + 1, np.uint8)
    memory[1:] = np.frombuffer(data, np.uint8)
    return memory[1:]


@cache
def real_admission() -> Admission:
    backend = CpuBackend(2)
    weights = [random_layer(HIDDEN, 32 + 8 * layer, experts=EXPERTS) for layer in range(LAYERS)]
    admission = Admission(SHAPE, max_streams=2)
    admission.serve(Shard(tuple(backend.load(one) for one in weights)))
    return admission


def some_call(rows: int = 1, *, slots: int = 4, layer: int = 0, seed: int = 0) -> LayerCall:
    random = np.random.default_rng(seed)
    ids = random.integers(-1, EXPERTS, (rows, slots), dtype=np.int32)
    return LayerCall(
        layer,
        random.standard_normal((rows, HIDDEN)).astype(np.float32),
        np.where(ids < 0, np.int32(-1), ids + np.int32(FIRST_EXPERT)),
        random.random((rows, slots), dtype=np.float32),
        random.integers(-24, -10, rows, dtype=np.int8),
        prefill=bool(seed % 2),
    )


def message_of(call: LayerCall, row_type: RowType = RowType.FLOAT32) -> pb.ExpertCall:
    return encode_call(9, call, row_type)
