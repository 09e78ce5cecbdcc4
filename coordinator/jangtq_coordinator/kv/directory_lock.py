"""Keeps a directory for one process. Knows nothing of what is in it."""

import fcntl
import os
from pathlib import Path
from typing import Final

_NAME: Final = "lock"


class DirectoryLock:
    """Held until `release`, or until the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Raises BlockingIOError that names the holding process, and OSError if the directory cannot be
        written.
        """
        self._file = os.open(directory / _NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            worker = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise BlockingIOError(error.errno, f"the process {worker} uses it") from None
        except OSError:
            os.close(self._file)
            raise
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Release the directory. The file stays: removing it could take the lock from the next process."""
        os.close(self._file)
