"""The compiled library as Python sees it: the structures and functions of experts.h. Computes nothing."""

import ctypes
import sys
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.errors import BackendMissingError
from jangtq_kernels.native_layout import check_layout
from jangtq_kernels.source_digest import load_library

LIBRARY = Path(__file__).parent / ("_jangtq.dylib" if sys.platform == "darwin" else "_jangtq.so")


class Status(IntEnum):
    """What a forward says; the values are those of experts.h."""

    OK = 0
    FOREIGN_EXPERT = 1
    ROWS_NOT_FINITE = 2
    WEIGHTS_NOT_FINITE = 3
    OUT_OF_MEMORY = 4
    ANSWERS_OUT_OF_RANGE = 5
    MATRICES_UNFIT = 6


class Matrix(ctypes.Structure):
    """JangtqMatrix."""

    _fields_ = [
        ("codes", ctypes.c_void_p),
        ("norms", ctypes.c_void_p),
        ("codebook", ctypes.c_void_p),
        ("signs", ctypes.c_void_p),
        ("out", ctypes.c_int64),
        ("in", ctypes.c_int64),
        ("bits", ctypes.c_int64),
    ]


class Layer(ctypes.Structure):
    """JangtqLayer."""

    _fields_ = [
        ("gate", Matrix),
        ("up", Matrix),
        ("down", Matrix),
        ("experts", ctypes.c_int64),
        ("positions", ctypes.c_void_p),
        ("position_count", ctypes.c_int64),
    ]


class Call(ctypes.Structure):
    """JangtqCall."""

    _fields_ = [
        ("rows", ctypes.c_void_p),
        ("expert_ids", ctypes.c_void_p),
        ("router_weights", ctypes.c_void_p),
        ("exponents", ctypes.c_void_p),
        ("row_count", ctypes.c_int64),
        ("slot_count", ctypes.c_int64),
        ("sums", ctypes.c_void_p),
        ("finest", ctypes.c_void_p),
    ]


class ThreadPool:
    """Threads that compute together, and the instruction set they use. Closed when forgotten."""

    def __init__(self, handle: int, close: Callable[[int], None]) -> None:
        self.handle = handle
        self._close = close

    def __del__(self) -> None:
        self._close(self.handle)


class NativeLibrary:
    """The functions of experts.h; ctypes gives up the GIL while they run."""

    def __init__(self, path: Path) -> None:
        library = load_library(path)
        check_layout(library, Matrix, Layer, Call)
        library.jangtq_isas.restype = ctypes.c_char_p
        library.jangtq_open_pool.restype = ctypes.c_void_p
        library.jangtq_open_pool.argtypes = [
            ctypes.c_int64,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.c_char_p,
        ]
        library.jangtq_close_pool.restype = None
        library.jangtq_close_pool.argtypes = [ctypes.c_void_p]
        library.jangtq_lay_out.restype = None
        library.jangtq_lay_out.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
        library.jangtq_forward.restype = ctypes.c_int32
        library.jangtq_forward.argtypes = [ctypes.c_void_p] * 4
        library.jangtq_quantize.restype = ctypes.c_int32
        library.jangtq_quantize.argtypes = [ctypes.c_void_p]
        self.functions = library
        """All that the library has, for whichever module mirrors more of it."""
        self.isas: tuple[str, ...] = tuple(library.jangtq_isas().decode().split(","))

    def open_pool(self, threads: int, isa: str, *, int8: bool, vendor: str | None = None) -> ThreadPool:
        """A pool for one of `isas`; int8 rounds rows and codebooks, vendor is as in jangtq_open_pool.

        Raises BackendMissingError when threads cannot be had.
        """
        handle = self.functions.jangtq_open_pool(
            threads, isa.encode(), int8, vendor.encode() if vendor else None
        )
        if not handle:
            raise BackendMissingError(f"the cpu backend cannot start {threads} threads")
        return ThreadPool(handle, self.functions.jangtq_close_pool)

    @property
    def forward_address(self) -> int:
        """Of `jangtq_forward`."""
        address = ctypes.cast(self.functions.jangtq_forward, ctypes.c_void_p).value
        assert address is not None, "a function that was found is somewhere"
        return address

    def lay_out(self, codes: NDArray[np.uint32], laid_out: NDArray[np.uint32]) -> None:
        """One expert's codes [out, words] into the kernel's layout."""
        out, words = codes.shape
        self.functions.jangtq_lay_out(codes.ctypes.data, laid_out.ctypes.data, out, words)

    def quantize(self, job: int) -> int:
        """Run the JangtqQuantization at this address; 1 where a weight is not finite, else 0."""
        status: int = self.functions.jangtq_quantize(job)
        return status

    def forward(self, pool: ThreadPool, layer: Layer, call: Call) -> tuple[Status, int]:
        """The status, and for an expert that is not held its place in expert_ids."""
        offender = ctypes.c_int64(0)
        status = self.functions.jangtq_forward(
            pool.handle, ctypes.addressof(layer), ctypes.addressof(call), ctypes.addressof(offender)
        )
        return Status(status), offender.value


@cache
def native_library() -> NativeLibrary:
    """The library that the installation compiled. Raises BackendMissingError saying what to do."""
    if not LIBRARY.exists():
        raise BackendMissingError(
            f"the cpu backend was not compiled: {LIBRARY.name} is missing; install a C++ compiler "
            "(macOS: xcode-select --install; Debian: apt install g++) and install jangtq-cluster again"
        )
    return NativeLibrary(LIBRARY)
