"""What macOS says about its machine, by sysctl. None or 0 elsewhere."""

import ctypes
import sys
from functools import cache


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
