"""Expert calls and answers as frames of the express transport: a fixed header, then arrays. Knows no socket.

All numbers are little-endian; every frame begins with the count of bytes that follow, uint32.
"""

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jangtq_proto.errors import CallRejectedError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.codec import (
    Bytes,
    LayerCall,
    Rows,
    answer_checksum,
    message_limit,
    row_dtype,
    wire_row_type,
)
from jangtq_proto.wire.row_type import RowType

LENGTH: Final = struct.Struct("<I")
# length, layer, call id, row count, slot count, row type, prefill, bytes of router weights, expert ids, rows
# and exponents
_CALL: Final = struct.Struct("<IIQIIIIIIII")
_CALL_HEAD: Final = struct.Struct("<IIQ32s")
# length, status, call id, queue and compute nanoseconds, checksum
_ANSWER: Final = struct.Struct("<IIQQQI")
_GREETING: Final = struct.Struct("<I8s32s")
_MAGIC: Final = b"JANGTQX4"

TICKET_BYTES: Final = 32
GREETING_LIMIT: Final = _GREETING.size
OK: Final = 0
NO_CALL: Final = 0
"""The call id of what answers no call in particular."""

Frame = Sequence[Bytes]


class CallFrame(NamedTuple):
    """An expert call as it arrived; its bytes are views of the frame. Fields as in ExpertCall."""

    call_id: int
    layer: int
    row_count: int
    slot_count: int
    row_type: pb.RowType
    rows: memoryview
    expert_ids: memoryview
    router_weights: memoryview
    exponents: memoryview
    prefill: bool


class AnswerFrame(NamedTuple):
    """Partial sums, then finest exponents where status is 0, else a gRPC status with its message in UTF-8."""

    call_id: int
    status: int
    payload: memoryview
    queue_ns: int
    compute_ns: int
    checksum: int


def frame_limit(hidden_size: int) -> int:
    """Bytes of the largest frame, the same as of the largest message over gRPC."""
    return message_limit(hidden_size)


def greeting(ticket: bytes) -> bytes:
    """What whoever connects says first."""
    return _GREETING.pack(_GREETING.size - LENGTH.size, _MAGIC, ticket)


def read_greeting(frame: memoryview) -> bytes:
    """The ticket in a greeting. Raises CallRejectedError."""
    if len(frame) != _GREETING.size:
        raise CallRejectedError(f"a greeting has {_GREETING.size} bytes, not {len(frame)}")
    _, magic, ticket = _GREETING.unpack(frame)
    if magic != _MAGIC:
        raise CallRejectedError(f"a greeting begins with {_MAGIC!r}, not {magic!r}")
    return bytes(ticket)


def call_frame(call_id: int, call: LayerCall, row_type: RowType) -> Frame:
    """A call to be sent as one; rows are converted to `row_type`, and nothing else is copied."""
    rows = call.rows.astype(row_dtype(row_type), order="C", copy=False)
    weights, ids = np.ascontiguousarray(call.router_weights), np.ascontiguousarray(call.expert_ids)
    exponents = np.ascontiguousarray(call.exponents)
    row_count, slot_count = ids.shape
    header = _CALL.pack(
        _CALL.size - LENGTH.size + weights.nbytes + ids.nbytes + rows.nbytes + exponents.nbytes,
        call.layer,
        call_id,
        row_count,
        slot_count,
        wire_row_type(row_type),
        call.prefill,
        weights.nbytes,
        ids.nbytes,
        rows.nbytes,
        exponents.nbytes,
    )
    return header, weights.data, ids.data, _plain(rows), exponents.data


def read_call_id(frame: memoryview) -> int:
    """Which call this is. Raises CallRejectedError for a frame that cannot be one."""
    _check_holds_call(frame)
    call_id: int = _CALL_HEAD.unpack_from(frame)[2]
    return call_id


def read_layer_and_layout(frame: memoryview) -> tuple[int, bytes]:
    """The layer of a call, and all else that tells how to read it. Raises CallRejectedError."""
    _check_holds_call(frame)
    _, layer, _, layout = _CALL_HEAD.unpack_from(frame)
    return layer, layout


def read_call(frame: memoryview) -> CallFrame:
    """The fields of a call, unchecked but for the lengths. Raises CallRejectedError."""
    _check_holds_call(frame)
    _, layer, call_id, row_count, slot_count, row_type, prefill, *sizes = _CALL.unpack_from(frame)
    ends = list(accumulate(sizes, initial=_CALL.size))
    if ends[-1] != len(frame):
        raise CallRejectedError(f"a call of {len(frame)} bytes says it holds {sizes} after {_CALL.size}")
    weights, ids, rows, exponents = (frame[start:end] for start, end in pairwise(ends))
    return CallFrame(
        call_id,
        layer,
        row_count,
        slot_count,
        row_type,
        rows=rows,
        expert_ids=ids,
        router_weights=weights,
        exponents=exponents,
        prefill=prefill != 0,
    )


def answer_frame(
    call_id: int,
    partial_sums: NDArray[np.int32],
    finest: NDArray[np.int8],
    *,
    queue_ns: int,
    compute_ns: int,
) -> Frame:
    """An answer with partial sums and finest exponents."""
    sums, exponents = np.ascontiguousarray(partial_sums).data, np.ascontiguousarray(finest).data
    length = _ANSWER.size - LENGTH.size + sums.nbytes + exponents.nbytes
    checksum = answer_checksum(call_id, sums, exponents)
    return _ANSWER.pack(length, OK, call_id, queue_ns, compute_ns, checksum), sums, exponents


def failure_frame(call_id: int, status: int, message: str) -> Frame:
    """An answer that says why there are no partial sums."""
    text = message.encode()
    return (_ANSWER.pack(_ANSWER.size - LENGTH.size + len(text), status, call_id, 0, 0, 0) + text,)


def read_answer(frame: memoryview) -> AnswerFrame:
    """The fields of an answer. Raises CallRejectedError."""
    if len(frame) < _ANSWER.size:
        raise CallRejectedError(f"an answer has at least {_ANSWER.size} bytes, not {len(frame)}")
    _, status, call_id, queue_ns, compute_ns, checksum = _ANSWER.unpack_from(frame)
    return AnswerFrame(call_id, status, frame[_ANSWER.size :], queue_ns, compute_ns, checksum)


def split_answer(payload: Bytes, row_count: int) -> tuple[memoryview, memoryview]:
    """The partial sums and the finest exponents of an answer to so many rows, not copied and unchecked."""
    view = memoryview(payload)
    finest_at = max(len(view) - row_count, 0)
    return view[:finest_at], view[finest_at:]


def _check_holds_call(frame: memoryview) -> None:
    if len(frame) < _CALL.size:
        raise CallRejectedError(f"a call has at least {_CALL.size} bytes, not {len(frame)}")


def _plain(array: Rows) -> memoryview:
    """The same memory, of bfloat16 as bytes, since that has no buffer format of its own."""
    return array.data if array.dtype.kind == "f" else array.view(np.uint8).data
