"""Answers read straight from the bytes of their messages, where these are as protobuf writes them.

Anything else is left to protobuf and its errors: a failure, a damaged message, one written in another way.
"""

import time
from typing import Final

import numpy as np
from xxhash import xxh3_64_intdigest

from jangtq_coordinator.transport.connection import LayerAnswer
from jangtq_proto.wire.messages import varint

_QUEUE, _COMPUTE, _CHECKSUM = 0x20, 0x28, 0x3D
_CHECKSUM_BYTES: Final = 5
_MOST_BITS: Final = 63
_SUM: Final = np.dtype("<i4")
_EXPONENT: Final = np.dtype(np.int8)


def read_plain_answer(data: bytes, call_id: int, shape: tuple[int, int]) -> LayerAnswer | None:
    """The answer to a call of this shape, [rows, hidden], proven whole; its arrays look into the bytes.

    None where `answer_decoding` and protobuf have to say what this is.
    """
    started = time.perf_counter_ns()
    row_count, hidden_size = shape
    sums_bytes = row_count * hidden_size * 4
    head = b"\x08%b\x12%b" % (varint(call_id), varint(sums_bytes))
    start = len(head)
    end = start + sums_bytes
    checksum_at = len(data) - _CHECKSUM_BYTES
    if checksum_at < end or data[checksum_at] != _CHECKSUM or not data.startswith(head):
        return None
    queue_ns, at = _read_number(data, end, _QUEUE)
    compute_ns, at = _read_number(data, at, _COMPUTE)
    finest_at = checksum_at - row_count
    if data[at:finest_at] != b"\x32" + varint(row_count):
        return None
    view = memoryview(data)
    found = xxh3_64_intdigest(view[finest_at:checksum_at], xxh3_64_intdigest(view[start:end], call_id))
    if found & 0xFFFFFFFF != int.from_bytes(data[checksum_at + 1 :], "little"):
        return None
    sums = np.ndarray(shape, _SUM, data, start)
    finest = np.ndarray((row_count,), _EXPONENT, data, finest_at)
    return LayerAnswer(sums, finest, queue_ns, compute_ns, time.perf_counter_ns() - started)


def _read_number(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """The number with this tag, 0 where there is none, and where it ends.

    Of one that is too long or cut off the end is wrong, where no tag is: its bytes are all above 127.
    """
    if data[at] != tag:
        return 0, at
    number = shift = 0
    byte = 0x80
    while byte > 0x7F and shift < _MOST_BITS and at + 2 < len(data):
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        shift += 7
    return number, at + 1 if byte <= 0x7F else at
