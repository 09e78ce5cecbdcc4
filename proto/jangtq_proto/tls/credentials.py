"""One side's certificate and trusted authorities, from three files that are read again after changes.

Knows no address and no transport.
"""

import logging
import os
import ssl
import stat
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jangtq_proto.errors import ConfigurationError
from jangtq_proto.tls.certificates import Role, check_authorities, check_certificate

AUTHORITIES_FILE: Final = "ca.pem"
CERTIFICATE_FILE: Final = "cert.pem"
KEY_FILE: Final = "key.pem"
_FILES: Final = (AUTHORITIES_FILE, CERTIFICATE_FILE, KEY_FILE)
_WARN_DAYS: Final = 30
_log = logging.getLogger("jangtq.tls")


@dataclass(frozen=True, eq=False)
class TlsFiles:
    """The three files at one moment, PEM, and a context made of them; a new object after each change."""

    authorities: bytes
    certificate: bytes
    key: bytes
    context: ssl.SSLContext


class Credentials:
    """Of one folder and role; thread-safe. Making one raises ConfigurationError."""

    def __init__(self, folder: Path, role: Role) -> None:
        self._folder = folder.expanduser()
        self._role = role
        self._lock = threading.Lock()
        self._stamp = _stamp(self._folder)
        self._files = _read(self._folder, role)

    def current(self) -> TlsFiles:
        """The current files, or the last ones that fitted together."""
        with self._lock:
            stamp = _stamp(self._folder)
            if stamp != self._stamp:
                self._stamp = stamp
                self._read_again()
            return self._files

    def _read_again(self) -> None:
        try:
            self._files = _read(self._folder, self._role)
        except ConfigurationError as error:
            _log.warning("%s; going on with what was read before", error)


def _read(folder: Path, role: Role) -> TlsFiles:
    authorities, certificate, key = (_read_file(folder / name) for name in _FILES)
    check_key_is_private(folder / KEY_FILE)
    try:
        check_authorities(authorities)
    except ConfigurationError as error:
        raise ConfigurationError(f"{folder / AUTHORITIES_FILE}: {error}") from error
    try:
        end = check_certificate(certificate, key, role=role)
        context = _make_context(folder, role)
    except (ConfigurationError, OSError) as error:
        raise ConfigurationError(f"{folder / CERTIFICATE_FILE}: {error}") from error
    _tell_end(folder, end)
    return TlsFiles(authorities, certificate, key, context)


def _make_context(folder: Path, role: Role) -> ssl.SSLContext:
    """The context of express sockets: TLS 1.3 only, and only peers with a certificate of the other role."""
    if role is Role.WORKER:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0  # a resumed session would outlive a revoked certificate
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])  # gRPC refuses peers that do not offer it
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / CERTIFICATE_FILE, folder / KEY_FILE)
    context.load_verify_locations(folder / AUTHORITIES_FILE)
    return context


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}; --tls wants a folder with {', '.join(_FILES)}, such as "
            "DIR/coordinator or DIR/worker-HOST of `jangtq-coord certs DIR`"
        ) from error


def check_key_is_private(path: Path) -> None:
    """Raises ConfigurationError where others may read it.

    A file of another user, such as one from systemd, may have any mode.
    """
    found = path.stat()
    if found.st_uid == os.getuid() and found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigurationError(f"{path}: others may read it, its mode is {mode:04o}: chmod 600 {path}")


def _tell_end(folder: Path, end: datetime) -> None:
    days = (end - datetime.now(UTC)).days
    level = logging.WARNING if days < _WARN_DAYS else logging.INFO
    _log.log(level, "the certificate in %s is good for %d more days", folder, days)


def _stamp(folder: Path) -> tuple[tuple[int, int, int] | None, ...]:
    return tuple(_stamp_of(folder / name) for name in _FILES)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
