"""The structures of native/exchange/exchange.h, and memory at known addresses."""

import ctypes
import struct
from collections.abc import Iterator
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.grid import EXPECTED_BITS, SLACK_BITS
from jangtq_kernels.grid import COARSEST, FINEST

_Item = TypeVar("_Item", np.int8, np.int32, np.float32)


class Grids(ctypes.Structure):
    """JangtqGrids."""

    _fields_ = [(name, ctypes.c_int64) for name in ("finest", "coarsest", "slack_bits", "expected_bits")]


class CallRows(ctypes.Structure):
    """JangtqCallRows."""

    _fields_ = [
        *((name, ctypes.c_char_p) for name in ("rows", "expert_ids", "router_weights")),
        *((name, ctypes.c_char_p) for name in ("exponents", "owners")),
        *((name, ctypes.c_int64) for name in ("row_count", "slot_count", "hidden", "expert_count")),
        *((name, ctypes.c_int64) for name in ("worker_count", "row_type", "layer", "prefill")),
        ("call_id", ctypes.c_uint64),
    ]


class EncodedPart(ctypes.Structure):
    """JangtqEncodedPart."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("row_count", "picks", "distinct", "index_at", "frame_at", "frame_bytes", "sent_bytes")
    ]

    @staticmethod
    def numbers_of(parts: bytes) -> Iterator[tuple[int, ...]]:
        """All fields of each."""
        return struct.iter_unpack(f"={PART_FIELDS}q", parts)


class PartReply(ctypes.Structure):
    """JangtqPartReply."""

    _fields_ = [
        ("frame", ctypes.c_char_p),
        ("frame_bytes", ctypes.c_int64),
        ("call_id", ctypes.c_uint64),
        ("row_count", ctypes.c_int64),
        ("row_index", ctypes.c_void_p),
        ("queue_ns", ctypes.c_int64),
        ("compute_ns", ctypes.c_int64),
        ("is_good", ctypes.c_int64),
        ("received_ns", ctypes.c_int64),
    ]

    @staticmethod
    def times_of(replies: bytes) -> Iterator[tuple[int, int, int]]:
        """Queue and compute nanoseconds of each, and when native code received it, else 0."""
        for *_, queue_ns, compute_ns, _, received_ns in struct.iter_unpack(f"={REPLY_FIELDS}q", replies):
            yield queue_ns, compute_ns, received_ns


class TurnFacts(ctypes.Structure):
    """JangtqTurnFacts."""

    _fields_ = [(name, ctypes.c_int64) for name in ("is_whole", "carried", "proof_ns", "received_ns")]

    is_whole: int
    carried: int
    proof_ns: int
    received_ns: int


GRIDS: Final = Grids(FINEST, COARSEST, SLACK_BITS, EXPECTED_BITS)
PART_FIELDS: Final = len(EncodedPart._fields_)
FRAME_AT: Final = [field[0] for field in EncodedPart._fields_].index("frame_at")
REPLY_FIELDS: Final = len(PartReply._fields_)
QUEUE_NS: Final = [field[0] for field in PartReply._fields_].index("queue_ns")


class Memory:
    """Bytes at an address that is known: NumPy takes longer to tell one than all else takes for a row."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._array = np.empty(size, dtype=np.uint8)
        self.view = self._array.data
        self.address = self._array.ctypes.data

    def of(self, size: int) -> "Memory":
        """This one, or a larger one for once."""
        return self if size <= self.size else Memory(size)

    def copy(self, nbytes: int, dtype: type[_Item], start: int = 0) -> NDArray[_Item]:
        """An array of its own."""
        return self._array[start : start + nbytes].view(dtype).copy()
