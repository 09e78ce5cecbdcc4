"""Receives frames of plain sockets in native code: native/sockets/inbox.h."""

import ctypes
from collections.abc import Callable
from typing import Final

from jangtq_kernels.cpu_library import native_library
from jangtq_kernels.errors import BackendMissingError

RECEIVED: Final = 0
"""JANGTQ_RECEIVED."""


def open_receiver() -> Callable[[int], int] | None:
    """What waits until the inbox at an address begins with a whole frame: RECEIVED, or why there is none.

    None where no library was compiled.
    """
    try:
        receive = native_library().functions.jangtq_receive_frame
    except BackendMissingError:
        return None
    receive.restype = ctypes.c_int64
    receive.argtypes = [ctypes.c_void_p]
    return receive
