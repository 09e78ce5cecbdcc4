"""The interface of a connection to one worker: frames of calls out, frames of answers in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jangtq_proto.sockets.inbox import Inbox
from jangtq_proto.tls.credentials import Credentials

GiveUp = Callable[[], bool]


def never() -> bool:
    """Never give up before the connection's own timeout."""
    return False


@dataclass(frozen=True)
class ConnectionSettings:
    """The size of rows, and how long a worker may take to be found and to answer."""

    hidden_size: int
    connect_timeout_seconds: float
    call_timeout_seconds: float
    credentials: Credentials | None = None


class Connection(Protocol):
    """Several calls may be open. The thread that sends also receives.

    Call ids are unique within a connection; a worker answers its calls in their order.
    """

    def send(self, call_id: int, frame: bytes) -> None:
        """Start a call. Raises ClusterError."""

    def receive(self, call_id: int, give_up: GiveUp = never) -> bytes:
        """Wait for the frame of the answer to a call; only its call id is checked.

        Raises ClusterError; the connection can be used again afterwards. Any thread may call
        `give_up` from time to time; when it returns True, all open calls are lost.
        """

    def abandon(self) -> None:
        """Abandon all open calls, so that their answers are never taken for those of later calls."""

    def close(self) -> None:
        """Release what the connection holds."""


@runtime_checkable
class DirectConnection(Connection, Protocol):
    """A connection whose plain socket native code may use, one call at a time."""

    def inbox(self) -> Inbox | None:
        """Where native code may send the next call and receive its answer; None if it may not now."""

    def resume(self, call_id: int, frame: bytes, sent_bytes: int) -> None:
        """Take over a call of whose frame native code sent so many bytes: an open call from now on.

        Raises ClusterError as `send` does.
        """
