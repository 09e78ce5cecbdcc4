"""One-time tickets: each opens one connection within seconds. Knows no network."""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable

from jangtq_proto.errors import WorkerBusyError
from jangtq_proto.wire.frames import TICKET_BYTES

LIFETIME_SECONDS = 10.0
_MOST_OPEN = 256


class Tickets:
    """Issued over a connection that is trusted already. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._expiry: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def issue(self) -> bytes:
        """A new ticket. Raises WorkerBusyError if too many are unused."""
        ticket = secrets.token_bytes(TICKET_BYTES)
        with self._lock:
            self._forget_expired()
            if len(self._expiry) >= _MOST_OPEN:
                raise WorkerBusyError(f"{_MOST_OPEN} tickets were handed out and not used yet")
            self._expiry[_digest(ticket)] = self._clock() + LIFETIME_SECONDS
        return ticket

    def redeem(self, ticket: bytes) -> bool:
        """Whether a ticket is valid; it is valid once."""
        with self._lock:
            self._forget_expired()
            return self._expiry.pop(_digest(ticket), None) is not None

    def _forget_expired(self) -> None:
        now = self._clock()
        self._expiry = {ticket: end for ticket, end in self._expiry.items() if end > now}


def _digest(ticket: bytes) -> bytes:
    """Tickets are found by digest, so that the time of a look-up reveals nothing."""
    return hashlib.sha256(ticket).digest()
