"""Fast float32 matrix products for MLX on Linux, whose wheels bring the reference BLAS. Knows no model.

A row's product has the same bits alone and among others, with any number of threads: see native/product.h.
"""

import ctypes
import sys
from functools import cache
from pathlib import Path

from jangtq_kernels.errors import BackendMissingError

LIBRARY = Path(__file__).parent / "_blas.so"


class Blas:
    """The functions of native/blas.cpp, with its cblas_sgemm in front of all that are loaded later."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        library.jangtq_blas_isas.restype = ctypes.c_char_p
        library.jangtq_blas_choose.restype = None
        library.jangtq_blas_choose.argtypes = [ctypes.c_int64]
        library.jangtq_blas_calls.restype = ctypes.c_int64
        library.jangtq_blas_set_threads.restype = ctypes.c_int32
        library.jangtq_blas_set_threads.argtypes = [ctypes.c_int64]
        self._library = library
        self.isas: tuple[str, ...] = tuple(library.jangtq_blas_isas().decode().split(","))

    @property
    def calls(self) -> int:
        """How many products were asked for in this process."""
        return int(self._library.jangtq_blas_calls())

    def choose(self, isa: str) -> None:
        """Use one of `isas`, for tests; the first is in use."""
        self._library.jangtq_blas_choose(self.isas.index(isa))

    def share(self, threads: int) -> bool:
        """Let so many threads compute large products together; false where they cannot be had."""
        return bool(self._library.jangtq_blas_set_threads(threads))


@cache
def stand_before_mlx() -> Blas | None:
    """Load the library, which helps only before MLX is: MLX binds its BLAS as it is loaded.

    None elsewhere than on Linux. Raises BackendMissingError where it was not compiled.
    """
    return open_blas(LIBRARY) if sys.platform == "linux" else None


def open_blas(path: Path) -> Blas:
    """Raises BackendMissingError saying what to do."""
    try:
        return Blas(path)
    except OSError as error:
        raise BackendMissingError(
            f"fast matrix products were not compiled: {error}; install a C++ compiler "
            "(Debian: apt install g++) and install jangtq-cluster again"
        ) from error
