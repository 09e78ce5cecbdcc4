"""The most that this machine reads and multiplies, measured by machine_peaks.cpp. Knows no kernel."""

import ctypes
from pathlib import Path

import numpy as np

from benchmarks.compiled import compile_library

_SOURCE = Path(__file__).with_suffix(".cpp")
_FLAGS = ("-march=native", "-ffp-contract=fast")
_STEPS = 1_000_000
_PER_STEP = 12 * 16


class MachinePeaks:
    """Compiles the loops once; `buffer_bytes` should be many times the last-level cache."""

    def __init__(self, buffer_bytes: int = 512 << 20) -> None:
        self._library = compile_library(_SOURCE, *_FLAGS)
        self._library.read_seconds.restype = ctypes.c_double
        self._library.read_seconds.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
        self._library.fma_seconds.restype = ctypes.c_double
        self._library.fma_seconds.argtypes = [ctypes.c_int64, ctypes.c_int64]
        self._buffer = np.ones(buffer_bytes + 64, dtype=np.uint8)
        self._next = 0

    def read_seconds(self, nbytes: int, threads: int) -> float:
        """Streaming through the next `nbytes` of the buffer, which come from memory."""
        if self._next + nbytes > self._buffer.nbytes - 64:
            self._next = 0
        start = -(-(self._buffer.ctypes.data + self._next) // 64) * 64
        self._next += nbytes
        return float(self._library.read_seconds(start, nbytes, threads))

    def fma_per_second(self, threads: int) -> float:
        """float32 fused multiply-adds a second on all threads together."""
        return _STEPS * _PER_STEP * threads / float(self._library.fma_seconds(_STEPS, threads))
