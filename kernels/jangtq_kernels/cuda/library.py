"""The compiled host side as Python sees it: the structures of gpu.h and its functions. Computes nothing."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.cpu_library import Call
from jangtq_kernels.errors import BackendMissingError
from jangtq_kernels.source_digest import load_library

LIBRARY = Path(__file__).parent / "_gpu.so"
EXPERTS_HEADERS = Path(__file__).parent.parent / "native"

GPU_FAILED = 100
"""Beside the values of cpu_library.Status."""


class Matrix(ctypes.Structure):
    """JangtqGpuMatrix."""

    _fields_ = [
        ("codes", ctypes.c_uint64),
        ("norms", ctypes.c_uint64),
        ("levels", ctypes.c_uint32 * 8),
        ("out", ctypes.c_int64),
        ("in_features", ctypes.c_int64),
        ("bits", ctypes.c_int64),
        ("terms", ctypes.c_int64),
    ]


class Layer(ctypes.Structure):
    """JangtqGpuLayer."""

    _fields_ = [
        ("gate", Matrix),
        ("up", Matrix),
        ("down", Matrix),
        ("hidden_signs", ctypes.c_uint64),
        ("intermediate_signs", ctypes.c_uint64),
        ("experts", ctypes.c_int64),
        ("positions", ctypes.c_void_p),
        ("position_count", ctypes.c_int64),
    ]


class Info(ctypes.Structure):
    """JangtqGpuInfo."""

    _fields_ = [
        ("name", ctypes.c_char * 128),
        ("major", ctypes.c_int32),
        ("minor", ctypes.c_int32),
        ("free_bytes", ctypes.c_uint64),
        ("total_bytes", ctypes.c_uint64),
    ]


class GpuLibrary:
    """The functions of gpu.h; ctypes gives up the GIL while they run."""

    def __init__(self, path: Path) -> None:
        library = load_library(path, EXPERTS_HEADERS)
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        signatures: dict[str, tuple[type | None, list[type]]] = {
            "open": (pointer, [ctypes.c_char_p, ctypes.c_int32, ctypes.c_char_p, count]),
            "close": (None, [pointer]),
            "error": (ctypes.c_char_p, [pointer]),
            "describe": (ctypes.c_int32, [pointer, pointer]),
            "load_row_kernels": (ctypes.c_int32, [pointer, ctypes.c_char_p]),
            "load_kernels": (ctypes.c_int32, [pointer, count, count, ctypes.c_char_p, ctypes.c_char_p]),
            "take": (ctypes.c_int32, [pointer, ctypes.c_uint64, pointer]),
            "free": (ctypes.c_int32, [pointer, ctypes.c_uint64]),
            "copy_in": (ctypes.c_int32, [pointer, ctypes.c_uint64, pointer, ctypes.c_uint64]),
            "lay_out": (ctypes.c_int32, [pointer, pointer, count, pointer]),
            "forward": (ctypes.c_int32, [pointer, pointer, pointer, pointer]),
            "repeat": (ctypes.c_int32, [pointer, pointer, count, count]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(library, f"jangtq_gpu_{name}")
            function.restype, function.argtypes = result, arguments
        self._library = library

    @property
    def forward_address(self) -> int:
        """Of `jangtq_gpu_forward`."""
        address = ctypes.cast(self._library.jangtq_gpu_forward, ctypes.c_void_p).value
        assert address is not None, "a function that was found is somewhere"
        return address

    def open(self, driver: str, device: int) -> "Gpu":
        """Raises BackendMissingError, with the driver's words, where there is no such GPU."""
        message = ctypes.create_string_buffer(1024)
        handle = self._library.jangtq_gpu_open(driver.encode(), device, message, len(message))
        if not handle:
            raise BackendMissingError(f"device cuda: {message.value.decode()}")
        return Gpu(self._library, handle)


class Gpu:
    """One GPU, its kernels and what is on it. Functions raise RuntimeError with the driver's words."""

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self._library = library
        self.handle = handle

    def describe(self) -> Info:
        info = Info()
        self._check(self._library.jangtq_gpu_describe(self.handle, ctypes.addressof(info)))
        return info

    def load_row_kernels(self, image: bytes) -> None:
        self._check(self._library.jangtq_gpu_load_row_kernels(self.handle, image))

    def load_kernels(self, bits: int, terms: int, *, gate_up: bytes, down: bytes) -> None:
        self._check(self._library.jangtq_gpu_load_kernels(self.handle, bits, terms, gate_up, down))

    def take(self, nbytes: int) -> "GpuMemory":
        address = ctypes.c_uint64()
        self._check(self._library.jangtq_gpu_take(self.handle, nbytes, ctypes.addressof(address)))
        return GpuMemory(self, address.value, nbytes)

    def free(self, address: int) -> None:
        self._library.jangtq_gpu_free(self.handle, address)

    def put(self, array: NDArray[np.generic]) -> "GpuMemory":
        """A copy of it on the GPU."""
        values = np.ascontiguousarray(array)
        memory = self.take(values.nbytes)
        self._check(
            self._library.jangtq_gpu_copy_in(self.handle, memory.address, values.ctypes.data, values.nbytes)
        )
        return memory

    def lay_out(self, codes: NDArray[np.uint32], matrix: Matrix) -> None:
        """Codes [experts, out, words] of the bundle into the kernels' order at `matrix.codes`."""
        values = np.ascontiguousarray(codes)
        self._check(
            self._library.jangtq_gpu_lay_out(
                self.handle, values.ctypes.data, len(values), ctypes.addressof(matrix)
            )
        )

    def forward(self, layer: Layer, call: Call) -> tuple[int, int]:
        """The status, and for an expert that is not held its place in expert_ids."""
        offender = ctypes.c_int64(0)
        status = self._library.jangtq_gpu_forward(
            self.handle, ctypes.addressof(layer), ctypes.addressof(call), ctypes.addressof(offender)
        )
        return status, offender.value

    def repeat(self, layers: Sequence[Layer], times: int) -> None:
        """The kernels of the call answered last, on these layers in turn, for measurements."""
        addresses = (ctypes.c_void_p * len(layers))(*(ctypes.addressof(layer) for layer in layers))
        self._check(self._library.jangtq_gpu_repeat(self.handle, addresses, len(layers), times))

    def error(self) -> str:
        """The driver's words about what failed last."""
        return str(self._library.jangtq_gpu_error(self.handle).decode())

    def _check(self, status: int) -> None:
        if status == GPU_FAILED:
            raise RuntimeError(f"the GPU failed: {self.error()}")
        if status:
            raise MemoryError("the cuda backend ran out of memory")

    def __del__(self) -> None:
        self._library.jangtq_gpu_close(self.handle)


class GpuMemory:
    """Bytes on a GPU, given back when forgotten."""

    def __init__(self, gpu: Gpu, address: int, nbytes: int) -> None:
        self._gpu = gpu
        self.address = address
        self.nbytes = nbytes

    def __del__(self) -> None:
        self._gpu.free(self.address)


@cache
def gpu_library() -> GpuLibrary:
    """The library that the installation compiled. Raises BackendMissingError saying what to do."""
    if not LIBRARY.exists():
        raise BackendMissingError(
            f"the cuda backend was not compiled: {LIBRARY.name} is missing; install a C++ compiler "
            "(Debian: apt install g++) and install jangtq-cluster again"
        )
    return GpuLibrary(LIBRARY)
