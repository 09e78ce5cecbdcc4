"""Bytes of tensors out of files, into arrays of our own. Knows no names."""

import contextlib
import fcntl
import sys
from io import FileIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_proto.errors import BundleError

_MOST_BYTES_A_READ: Final = 1 << 28
"""macOS refuses a single read of 2 GiB or more."""


def open_for_reading(path: Path, *, cached: bool = True) -> FileIO:
    """An unbuffered file. Raises BundleError when it is gone.

    cached: False for weights that this process keeps: macOS then keeps no second copy of them in its file
    cache, where tens of gigabytes would press on the memory that the GPU has wired.
    """
    try:
        file = FileIO(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from None
    if not cached:
        _bypass_cache(file)
    return file


def read_into(file: FileIO, target: NDArray[np.generic], *, offset: int) -> None:
    """Fill a C-contiguous array from the file. Raises BundleError when the file ends too soon."""
    view = target.data.cast("B")
    done = 0
    while done < view.nbytes:
        file.seek(offset + done)
        count = _read_some(file, view[done : done + _MOST_BYTES_A_READ])
        if not count:
            raise BundleError(
                f"{file.name}: ends at byte {offset + done}, expected {offset + view.nbytes}; "
                "it changed after it was checked"
            )
        done += count


def read_bytes(path: Path, *, offset: int, length: int) -> bytes:
    """A few bytes of a file. Raises BundleError when it ends too soon."""
    target = np.empty(length, dtype=np.uint8)
    with open_for_reading(path) as file:
        read_into(file, target, offset=offset)
    return target.tobytes()


def _bypass_cache(file: FileIO) -> None:
    if sys.platform == "darwin":
        # A file system without it reads as well, through the cache.
        with contextlib.suppress(OSError):
            fcntl.fcntl(file, fcntl.F_NOCACHE, 1)


def _read_some(file: FileIO, view: memoryview) -> int:
    try:
        return file.readinto(view) or 0
    except OSError as error:
        raise BundleError(f"{file.name}: cannot be read ({error.strerror})") from None
