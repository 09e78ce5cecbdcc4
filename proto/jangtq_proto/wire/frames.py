"""Expert calls and answers as frames, which gRPC and express connections carry alike. Knows no socket.

A frame is a fixed header, then arrays. All numbers are little-endian; every frame begins with the count of
bytes that follow, uint32. `jangtq_kernels/native/wire/frame_heads.h` has the same headers for native code.
"""

import struct
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jangtq_proto.errors import CallRejectedError
from jangtq_proto.wire.codec import (
    Bytes,
    LayerCall,
    WireCall,
    answer_checksum,
    decode_finest,
    decode_partial_sums,
    message_limit,
    row_dtype,
    wire_row_type,
)
from jangtq_proto.wire.row_type import RowType

LENGTH: Final = struct.Struct("<I")
# length, layer, call id, row count, slot count, row type, prefill, bytes of router weights, expert ids, rows
# and exponents
_CALL: Final = struct.Struct("<IIQIIIIIIII")
# length, status, call id, queue and compute nanoseconds, checksum
_ANSWER: Final = struct.Struct("<IIQQQI")
# length, layer or status, call id and, of calls, row count
_HEAD: Final = struct.Struct("<IIQI")
_GREETING: Final = struct.Struct("<I8s32s")
_MAGIC: Final = b"JANGTQX5"

TICKET_BYTES: Final = 32
GREETING_LIMIT: Final = _GREETING.size
CALL_HEAD_BYTES: Final = _CALL.size
ANSWER_HEAD_BYTES: Final = _ANSWER.size
OK: Final = 0
NO_CALL: Final = 0
"""The call id of an answer to no particular call."""


class AnswerFrame(NamedTuple):
    """Partial sums, then finest exponents where status is 0, else a gRPC status with its message in UTF-8."""

    call_id: int
    status: int
    payload: memoryview
    queue_ns: int
    compute_ns: int
    checksum: int

    @property
    def message(self) -> str:
        """The message of a status other than 0."""
        return bytes(self.payload).decode(errors="replace")


def frame_limit(hidden_size: int) -> int:
    """Bytes of the largest frame."""
    return message_limit(hidden_size)


def greeting(ticket: bytes) -> bytes:
    """The first bytes of the connecting side."""
    return _GREETING.pack(_GREETING.size - LENGTH.size, _MAGIC, ticket)


def read_greeting(frame: Bytes) -> bytes:
    """The ticket in a greeting. Raises CallRejectedError."""
    if len(frame) != _GREETING.size:
        raise CallRejectedError(f"a greeting has {_GREETING.size} bytes, not {len(frame)}")
    _, magic, ticket = _GREETING.unpack(frame)
    if magic != _MAGIC:
        raise CallRejectedError(f"a greeting begins with {_MAGIC!r}, not {magic!r}")
    return bytes(ticket)


def call_frame(call_id: int, call: LayerCall, row_type: RowType) -> bytes:
    """A call; rows are converted to `row_type`."""
    rows = call.rows.astype(row_dtype(row_type), copy=False).tobytes()
    weights, ids = call.router_weights.tobytes(), call.expert_ids.tobytes()
    exponents = call.exponents.tobytes()
    row_count, slot_count = call.expert_ids.shape
    sizes = len(weights), len(ids), len(rows), len(exponents)
    header = _CALL.pack(
        _CALL.size - LENGTH.size + sum(sizes),
        call.layer,
        call_id,
        row_count,
        slot_count,
        wire_row_type(row_type),
        call.prefill,
        *sizes,
    )
    return b"".join((header, weights, ids, rows, exponents))


def read_call_head(frame: Bytes) -> tuple[int, int]:
    """Id and row count of a call, unchecked. Raises CallRejectedError for a frame that cannot be one."""
    _check_size(frame, "a call", _CALL.size)
    _, _, call_id, row_count = _HEAD.unpack_from(frame)
    return call_id, row_count


def read_call(frame: Bytes) -> WireCall:
    """The fields of a call, unchecked except the lengths; views of the frame. Raises CallRejectedError."""
    _check_size(frame, "a call", _CALL.size)
    length, layer, call_id, row_count, slot_count, row_type, prefill, *sizes = _CALL.unpack_from(frame)
    ends = list(accumulate(sizes, initial=_CALL.size))
    if not ends[-1] == len(frame) == length + LENGTH.size:
        raise CallRejectedError(
            f"a call of {len(frame)} bytes says it has {length + LENGTH.size}, {sizes} after {_CALL.size}"
        )
    view = memoryview(frame)
    weights, ids, rows, exponents = (view[start:end] for start, end in pairwise(ends))
    return WireCall(
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
) -> bytes:
    """An answer with partial sums and finest exponents."""
    sums, exponents = partial_sums.tobytes(), finest.tobytes()
    length = _ANSWER.size - LENGTH.size + len(sums) + len(exponents)
    checksum = answer_checksum(call_id, sums, exponents)
    head = _ANSWER.pack(length, OK, call_id, queue_ns, compute_ns, checksum)
    return b"".join((head, sums, exponents))


def failure_frame(call_id: int, status: int, message: str) -> bytes:
    """An answer with an error instead of partial sums."""
    text = message.encode()
    return _ANSWER.pack(_ANSWER.size - LENGTH.size + len(text), status, call_id, 0, 0, 0) + text


def read_answer(frame: Bytes) -> AnswerFrame:
    """The fields of an answer. Raises CallRejectedError."""
    _check_size(frame, "an answer", _ANSWER.size)
    length, status, call_id, queue_ns, compute_ns, checksum = _ANSWER.unpack_from(frame)
    if length + LENGTH.size != len(frame):
        raise CallRejectedError(f"an answer of {len(frame)} bytes says it has {length + LENGTH.size}")
    payload = memoryview(frame)[_ANSWER.size :]
    return AnswerFrame(call_id, status, payload, queue_ns, compute_ns, checksum)


def read_answer_id(frame: Bytes) -> int:
    """The id of the answered call. Raises CallRejectedError for a frame that cannot be an answer."""
    if len(frame) < _ANSWER.size:
        _check_size(frame, "an answer", _ANSWER.size)
    call_id: int = _HEAD.unpack_from(frame)[2]
    return call_id


def read_compute_ns(frame: Bytes) -> int:
    """The nanoseconds that a call was computed; 0 in failures. For answers that were made here."""
    compute_ns: int = _ANSWER.unpack_from(frame)[4]
    return compute_ns


def decode_answer(answer: AnswerFrame, shape: tuple[int, int]) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Partial sums [rows, hidden] and finest exponents [rows] of an answer of status 0, views of its payload.

    Raises CallRejectedError for a wrong size or checksum.
    """
    finest_at = max(len(answer.payload) - shape[0], 0)
    sums, finest = answer.payload[:finest_at], answer.payload[finest_at:]
    decoded = decode_partial_sums(sums, shape), decode_finest(finest, shape[0])
    if answer_checksum(answer.call_id, sums, finest) != answer.checksum:
        raise CallRejectedError("the answer was damaged on its way, its checksum is wrong")
    return decoded


def _check_size(frame: Bytes, what: str, least: int) -> None:
    if len(frame) < least:
        raise CallRejectedError(f"{what} has at least {least} bytes, not {len(frame)}")
