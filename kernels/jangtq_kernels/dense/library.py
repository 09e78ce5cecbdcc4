"""Dense products and attention of the compiled library as Python sees them: dense.h and attention.h."""

import ctypes

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.cpu_library import NativeLibrary, Status, ThreadPool
from jangtq_kernels.native_layout import check_layout


class Dense(ctypes.Structure):
    """JangtqDense."""

    _fields_ = [
        ("codes", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("biases", ctypes.c_void_p),
        ("out", ctypes.c_int64),
        ("in", ctypes.c_int64),
        ("bits", ctypes.c_int64),
        ("group", ctypes.c_int64),
        ("number", ctypes.c_int64),
    ]


class DenseCall(ctypes.Structure):
    """JangtqDenseCall."""

    _fields_ = [
        ("rows", ctypes.c_void_p),
        ("row_count", ctypes.c_int64),
        ("matrices", ctypes.c_void_p),
        ("products", ctypes.c_void_p),
        ("matrix_count", ctypes.c_int64),
    ]


class Attention(ctypes.Structure):
    """JangtqAttention."""

    _fields_ = [
        ("queries", ctypes.c_void_p),
        ("keys", Dense),
        ("values", Dense),
        ("lengths", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("kv_heads", ctypes.c_int64),
        ("tokens", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("answers", ctypes.c_void_p),
    ]


class DenseLibrary:
    """The functions of dense.h and attention.h; ctypes gives up the GIL while they run.

    Raises StaleLibraryError where a structure is another one in the library.
    """

    def __init__(self, library: NativeLibrary) -> None:
        functions = library.functions
        check_layout(functions, Dense, DenseCall, Attention)
        for function in (functions.jangtq_multiply_dense, functions.jangtq_attend):
            function.restype = ctypes.c_int32
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        functions.jangtq_look_up_dense.restype = ctypes.c_int32
        functions.jangtq_look_up_dense.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]
        self._functions = functions

    def multiply(self, pool: ThreadPool, call: DenseCall) -> Status:
        """As jangtq_multiply_dense."""
        return Status(self._functions.jangtq_multiply_dense(pool.handle, ctypes.addressof(call)))

    def look_up(
        self, pool: ThreadPool, matrix: Dense, ids: NDArray[np.int32], rows: NDArray[np.float32]
    ) -> Status:
        """As jangtq_look_up_dense."""
        return Status(
            self._functions.jangtq_look_up_dense(
                pool.handle, ctypes.addressof(matrix), ids.ctypes.data, ids.size, rows.ctypes.data
            )
        )

    def attend(self, pool: ThreadPool, call: Attention) -> Status:
        """As jangtq_attend."""
        return Status(self._functions.jangtq_attend(pool.handle, ctypes.addressof(call)))
