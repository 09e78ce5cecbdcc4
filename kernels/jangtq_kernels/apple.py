"""What macOS says about its machine, by sysctl, and is told about threads. None, 0 or False elsewhere."""

import ctypes
import sys
from functools import cache
from typing import Final

_USER_INTERACTIVE: Final = 0x21
"""QOS_CLASS_USER_INTERACTIVE of <sys/qos.h>."""


@cache
def read_number(name: str) -> int | None:
    """A number of `sysctl NAME`, such as hw.perflevel0.physicalcpu; None where it does not exist."""
    value = _read(name)
    return int.from_bytes(value, "little") if value and len(value) in (4, 8) else None


@cache
def read_text(name: str) -> str | None:
    """A text of `sysctl NAME`, such as machdep.cpu.brand_string; None where it does not exist."""
    value = _read(name)
    return value.rstrip(b"\0").decode(errors="replace") if value else None


def performance_cores() -> int:
    """How many fast cores an Apple-silicon Mac has; 0 where cores are all of a kind."""
    return read_number("hw.perflevel0.physicalcpu") or 0


def ask_for_fast_cores() -> bool:
    """Have the calling thread run on fast cores, as one that a user waits for; whether macOS was told.

    Apple puts threads without a class on its slow cores when others are busy, and a token waits for every
    thread that polls, reads or answers for it.
    """
    if sys.platform != "darwin":
        return False
    return bool(ctypes.CDLL(None).pthread_set_qos_class_self_np(ctypes.c_uint(_USER_INTERACTIVE), 0) == 0)


def _read(name: str) -> bytes | None:
    if sys.platform != "darwin":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    size = ctypes.c_size_t(0)
    if libc.sysctlbyname(name.encode(), None, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return None
    buffer = ctypes.create_string_buffer(size.value)
    if libc.sysctlbyname(name.encode(), buffer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return None
    return buffer.raw[: size.value]
