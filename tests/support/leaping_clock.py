"""Wall clocks of processes that a test sets forward and back while they run. Linux only."""

import mmap
import struct
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

_SOURCE = Path(__file__).with_suffix(".c")
_SHIFT = struct.Struct("=q")


def can_leap() -> bool:
    """Elsewhere nothing can be put before the system's own functions."""
    return sys.platform == "linux"


def build_library(folder: Path) -> Path:
    """What processes with such a clock load first."""
    library = folder / "leaping_clock.so"
    flags = ("-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    subprocess.run(("cc", *flags, str(_SOURCE), "-o", str(library), "-ldl"), check=True, timeout=120)
    return library


class Clock:
    """`under` starts a command with this clock, of which there may be any number."""

    def __init__(self, library: Path, name: str) -> None:
        path = library.parent / f"clock-{name}"
        path.write_bytes(_SHIFT.pack(0))
        with path.open("r+b") as file:
            self._shift = mmap.mmap(file.fileno(), _SHIFT.size)
        self.under = ("env", f"LD_PRELOAD={library}", f"LEAPING_CLOCK={path}")

    def set(self, seconds: int) -> None:
        """So far ahead of the true time, or behind where negative."""
        self._shift[:] = _SHIFT.pack(seconds)


def seconds_ahead(url: str) -> float:
    """How far a server's clock is ahead of ours, by what it writes above its answers."""
    return parsedate_to_datetime(httpx.get(url).headers["date"]).timestamp() - time.time()
