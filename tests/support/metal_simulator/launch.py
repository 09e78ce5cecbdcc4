"""Hands a compiled kernel its buffers and threads. Knows neither MLX nor Metal source."""

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Extent = tuple[int, int, int]

MESSAGE_BYTES = 1024

_one_at_a_time = threading.Lock()
"""The runtime catches faults by signal handlers of the process, and ctypes lets other threads run."""


class LaunchError(Exception):
    """The kernel deadlocked, diverged or left its buffers; the message says where."""


@dataclass(frozen=True)
class Buffer:
    """One argument of the kernel; an output is written in place."""

    name: str
    array: NDArray[np.generic]
    writable: bool


class _HostBuffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_uint64), ("writable", ctypes.c_int32)]


class _Launch(ctypes.Structure):
    _fields_ = [
        ("grid", ctypes.c_uint32 * 3),
        ("threadgroup", ctypes.c_uint32 * 3),
        ("buffers", ctypes.POINTER(_HostBuffer)),
        ("buffer_count", ctypes.c_uint32),
        ("backwards", ctypes.c_int32),
        ("message", ctypes.c_char_p),
        ("message_bytes", ctypes.c_uint64),
    ]


def threadgroup_bytes(library: ctypes.CDLL) -> int:
    """Bytes of threadgroup memory that the kernel declares."""
    return int(library.threadgroup_memory_bytes())


def launch(
    library: ctypes.CDLL, buffers: Sequence[Buffer], *, grid: Extent, threadgroup: Extent, backwards: bool
) -> None:
    """Run every thread of the grid; `backwards` takes the threads of a threadgroup last to first."""
    message = ctypes.create_string_buffer(MESSAGE_BYTES)
    hosts = (_HostBuffer * len(buffers))(
        *(_HostBuffer(buffer.array.ctypes.data, buffer.array.nbytes, buffer.writable) for buffer in buffers)
    )
    order = _Launch(
        (ctypes.c_uint32 * 3)(*grid),
        (ctypes.c_uint32 * 3)(*threadgroup),
        hosts,
        len(buffers),
        backwards,
        ctypes.cast(message, ctypes.c_char_p),
        MESSAGE_BYTES,
    )
    with _one_at_a_time:
        failed = library.run(ctypes.byref(order)) != 0
    if failed:
        names = ", ".join(f"{index} {buffer.name}" for index, buffer in enumerate(buffers))
        raise LaunchError(f"{message.value.decode()} (buffers: {names})")
