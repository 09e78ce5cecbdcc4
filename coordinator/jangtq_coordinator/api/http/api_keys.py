"""API keys: made here, shown once, and kept as hashes in a file that may change while it is used.

A line of the file is `NAME sha256:HEX`. Keys are 256 random bits, which cannot be guessed, so that a plain
hash is enough; passwords would need a slow one. Knows no HTTP.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import threading
from pathlib import Path
from typing import Final

from jangtq_proto.errors import ConfigurationError

_PREFIX: Final = "jangtq-"
_NAME: Final = re.compile(r"[\w.@-]{1,64}", re.ASCII)
_LINE: Final = re.compile(rf"({_NAME.pattern})\s+sha256:([0-9a-f]{{64}})", re.ASCII)
_log = logging.getLogger("jangtq.keys")


def new_key() -> str:
    """A new random key."""
    return _PREFIX + secrets.token_urlsafe(32)


def add_key(path: Path, name: str) -> str:
    """Append a new key's hash to the file, which is made with its folder if it is missing; returns the key.

    Raises ConfigurationError for a bad name, and for one that has a key already.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"name {name!r}: allowed are 1 to 64 letters, digits and . _ @ -")
    text = _read(path) if path.exists() else ""
    if name in parse_keys(text, path).values():
        raise ConfigurationError(f"{path} has a key named {name!r}: remove its line first, or choose another")
    key = new_key()
    separator = "" if not text or text.endswith("\n") else "\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w") as file:
            file.write(f"{separator}{name} sha256:{_hash(key)}\n")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    return key


def parse_keys(text: str, path: Path) -> dict[str, str]:
    """The name of each hash; # starts a comment. Raises ConfigurationError for any other line."""
    names: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ConfigurationError(
                f"{path}, line {number}: expected NAME sha256:HEX as jangtq-coord key writes"
            )
        names[match[2]] = match[1]
    return names


class KeyFile:
    """The keys of one file, read again after each change. Safe in any thread."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError if the file cannot be read or has no key."""
        self._path = path
        self._lock = threading.Lock()
        self._stamp = _stamp(path)
        self._names = parse_keys(_read(path), path)
        if not self._names:
            raise ConfigurationError(f"{path} holds no key: make one with jangtq-coord key")
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o022:
            raise ConfigurationError(
                f"{path}: others may write keys of theirs to it, its mode is {mode:04o}: chmod 600 {path}"
            )

    def name_of(self, key: str) -> str | None:
        """The name of a key, or None. A wrong key takes as long as a right one."""
        given = _hash(key)
        found = None
        for known, name in self._current().items():
            if hmac.compare_digest(known, given):
                found = name
        return found

    def _current(self) -> dict[str, str]:
        """If the file becomes unusable, the last good keys stay in force and a warning is logged once."""
        with self._lock:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._names = parse_keys(_read(self._path), self._path)
                    _log.info("%s: %d keys read", self._path, len(self._names))
                except ConfigurationError as error:
                    _log.error("%s; the keys before stay in force", error)
            return self._names


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not a text file") from error


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """A value that differs after each change of the file; None while it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
