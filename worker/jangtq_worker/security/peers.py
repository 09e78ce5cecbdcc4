"""The peers connected inside TLS, which stay while their certificates are valid. Knows no calls."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography import x509

from jangtq_proto.timings import TIMINGS
from jangtq_proto.tls.certificates import refusal
from jangtq_proto.tls.credentials import Credentials

_log = logging.getLogger("jangtq.worker.tls")


class PeerRefusedError(Exception):
    """A peer's certificate is not valid any more."""


@dataclass(frozen=True, eq=False)
class _Peer:
    certificate: x509.Certificate
    end: Callable[[], object]


class Peers:
    """TLS checks a certificate once; this checks again every second. Thread-safe."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._peers: set[_Peer] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)

    def start(self) -> None:
        """Start the checks."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the checks."""
        self._stopped.set()

    @contextmanager
    def known(self, certificate: x509.Certificate, end: Callable[[], object]) -> Iterator[None]:
        """While the block runs, another thread calls `end` once the certificate is not valid any more.

        Raises PeerRefusedError if it is not valid at the start.
        """
        peer = _Peer(certificate, end)
        with self._lock:
            self._peers.add(peer)
        try:
            if reason := self._refusal(peer):
                raise PeerRefusedError(reason)
            yield
        finally:
            with self._lock:
                self._peers.discard(peer)

    def look(self) -> None:
        """End connections whose certificates are not valid any more."""
        with self._lock:
            peers = tuple(self._peers)
        for peer in peers:
            if reason := self._refusal(peer):
                _log.warning(
                    "ending a connection of %s: %s", peer.certificate.subject.rfc4514_string(), reason
                )
                peer.end()

    def _refusal(self, peer: _Peer) -> str | None:
        return refusal(peer.certificate, self._credentials.current().authorities)

    def _watch(self) -> None:
        while not self._stopped.wait(TIMINGS.certificate_check):
            self.look()
