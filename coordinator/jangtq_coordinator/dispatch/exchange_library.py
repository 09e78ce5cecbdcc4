"""The compiled exchange as Python sees it: the structures of exchange.h and its functions."""

import ctypes
import sys
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

import jangtq_proto
from jangtq_kernels.errors import StaleLibraryError
from jangtq_kernels.source_digest import load_library
from jangtq_proto.errors import InstallationError
from jangtq_proto.wire.codec import wire_row_type
from jangtq_proto.wire.row_type import RowType

LIBRARY = Path(__file__).parent / ("_exchange.dylib" if sys.platform == "darwin" else "_exchange.so")
WIRE = Path(jangtq_proto.__file__).parent / "native"

BY_MESSAGE: Final = -2
"""Instead of a socket; kJangtqByMessage."""


class Outcome(IntEnum):
    """What an ask or a collect says; the values are those of exchange.h."""

    ORDINARY = 0
    NOT_SPLIT = 1
    NOT_SENT = 2
    NOT_READ = 3
    MISFITS = 4


class PartStruct(NamedTuple):
    """What was done with one worker, JangtqPart."""

    picks: int
    rows: int
    distinct: int
    frame_bytes: int
    sent_bytes: int
    sent_errno: int
    sent_ns: int
    read_bytes: int
    is_whole: int
    queue_ns: int
    compute_ns: int
    decode_ns: int
    read_ns: int

    @property
    def is_sent(self) -> bool:
        """Whether the socket took the whole frame."""
        return self.sent_bytes == self.frame_bytes


class Grids(ctypes.Structure):
    """JangtqGrids."""

    _fields_ = [(name, ctypes.c_int64) for name in ("finest", "coarsest", "slack_bits", "expected_bits")]


class Summary(NamedTuple):
    """What the whole exchange came to, JangtqSummary."""

    slowest: int
    queue_ns: int
    compute_ns: int
    decode_ns: int
    read_ns: int


class ExchangeStruct(ctypes.Structure):
    """JangtqExchange."""

    _fields_ = [
        ("workers", ctypes.c_void_p),
        ("worker_count", ctypes.c_int64),
        ("owners", ctypes.c_void_p),
        ("expert_count", ctypes.c_int64),
        ("hidden", ctypes.c_int64),
        ("grids", ctypes.c_void_p),
        ("row_type", ctypes.c_int64),
        ("exponents", ctypes.c_void_p),
        ("sums", ctypes.c_void_p),
        ("parts", ctypes.c_void_p),
        ("summary", ctypes.c_void_p),
        ("row_index", ctypes.c_void_p),
        ("answers", ctypes.c_void_p),
        ("answer_stride", ctypes.c_int64),
        ("messages", ctypes.c_void_p),
        ("message_stride", ctypes.c_int64),
        ("replies", ctypes.c_void_p),
    ]


class ExchangeLibrary:
    """The functions of exchange.h; ctypes gives up the GIL while they run."""

    def __init__(self, path: Path) -> None:
        library = load_library(path, WIRE)
        self.answer_bytes = library.jangtq_answer_bytes
        self.answer_bytes.restype = ctypes.c_int64
        self.answer_bytes.argtypes = [ctypes.c_int64] * 2
        self.most_message_bytes = library.jangtq_most_message_bytes
        self.most_message_bytes.restype = ctypes.c_int64
        self.most_message_bytes.argtypes = [ctypes.c_int64] * 3
        self.take_message = library.jangtq_take_message
        self.take_message.restype = ctypes.c_int32
        self.take_message.argtypes = [
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_uint64,
            ctypes.c_char_p,
            ctypes.c_int64,
        ]
        self.ask = library.jangtq_ask
        self.ask.restype = ctypes.c_int32
        self.ask.argtypes = [
            ctypes.c_void_p,
            *[ctypes.c_char_p] * 3,
            *[ctypes.c_int64] * 4,
            ctypes.c_double,
            ctypes.c_uint64,
        ]
        self.collect = library.jangtq_collect
        self.collect.restype = ctypes.c_int32
        self.collect.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_int64]
        self._first_exponents = library.jangtq_first_exponents
        self._first_exponents.restype = None
        self._first_exponents.argtypes = [
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_void_p,
            *[ctypes.c_int64] * 2,
            ctypes.c_double,
            ctypes.c_void_p,
        ]

    def first_exponents(self, grids: Grids, rows: NDArray[np.float32], factor: float) -> NDArray[np.int8]:
        """int8 [rows] for contiguous rows."""
        exponents = np.empty(len(rows), dtype=np.int8)
        self._first_exponents(
            ctypes.addressof(grids),
            wire_row_type(RowType.FLOAT32),
            rows.ctypes.data,
            *rows.shape,
            factor,
            exponents.ctypes.data,
        )
        return exponents


@cache
def exchange_library() -> ExchangeLibrary | None:
    """None where the installation had no compiler. Raises InstallationError for one of other sources."""
    try:
        return ExchangeLibrary(LIBRARY) if LIBRARY.exists() else None
    except StaleLibraryError as error:
        raise InstallationError(str(error)) from error
