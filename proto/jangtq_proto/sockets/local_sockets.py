"""Unix sockets for processes of one user on one machine: their folder, the machine's id, stale files.

Knows nothing of what travels through them.
"""

import hashlib
import os
import secrets
import socket
import stat
import time
from pathlib import Path

from jangtq_proto.addresses import Address

_MACHINE_ID = "machine-id"
_CONNECT_SECONDS = 1.0
_SETTLED_SECONDS = 60.0


def user_folder() -> Path:
    """Where sockets of this user live; short, because a socket's path may have 103 bytes on macOS."""
    return Path("/tmp") / f"jangtq-{os.getuid()}"


class SocketFolder:
    """A folder that only its user may enter. Methods raise OSError when it is not so or cannot be made."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or user_folder()

    def machine_id(self) -> str:
        """A random word, the same for all processes that may enter the folder; made if it is missing."""
        self._make()
        file = self.path / _MACHINE_ID
        if not file.exists():
            _create_once(file, secrets.token_hex(16))
        return file.read_text()

    def claim(self, name: str) -> Path:
        """The path for a new socket of this name; a stale file there is removed. OSError if it is in use.

        Sockets that killed processes left go, too.
        """
        self._make()
        self._sweep()
        path = self.path / name
        if path.exists():
            if answers(path):
                raise OSError(f"{path} is in use")
            path.unlink(missing_ok=True)
        return path

    def holds(self, path: Path, machine_id: str) -> bool:
        """Whether a socket that a worker announced, with its machine's id, is in this folder."""
        return path.parent == self.path and self.is_of(machine_id)

    def is_of(self, machine_id: str) -> bool:
        """Whether a process that announced this machine's id shares the machine and the user."""
        if not machine_id:
            return False
        try:
            self._check()
            return (self.path / _MACHINE_ID).read_text() == machine_id
        except OSError:
            return False

    def _sweep(self) -> None:
        """Remove sockets at which no process listens, except new ones: their process may be about to."""
        newest = time.time() - _SETTLED_SECONDS
        for path in self.path.iterdir():
            found = path.lstat()
            if stat.S_ISSOCK(found.st_mode) and found.st_mtime < newest and not answers(path):
                path.unlink(missing_ok=True)

    def _make(self) -> None:
        self.path.mkdir(mode=0o700, exist_ok=True)
        self._check()

    def _check(self) -> None:
        """Check the owner: another user may have made the folder first, to listen."""
        found = self.path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{self.path} must be a folder of user {os.getuid()} with mode 0700")


def socket_name(listen: Address, purpose: str) -> str:
    """The file name of a socket beside a TCP address; hosts differ when one port is used on several."""
    host = hashlib.sha256(listen.host.encode()).hexdigest()[:8]
    return f"{purpose}-{listen.port}-{host}"


def answers(path: Path) -> bool:
    """Whether a process listens at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _create_once(file: Path, text: str) -> None:
    """Create a file atomically; the first process decides its content."""
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    draft.write_text(text)
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
