"""The way to one worker, as the dispatcher sees it: frames of calls there, frames of answers back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jangtq_proto.tls.credentials import Credentials

GiveUp = Callable[[], bool]


def never() -> bool:
    """For a wait as long as the connection itself allows."""
    return False


@dataclass(frozen=True)
class ConnectionSettings:
    """How large rows are, and how long a worker may take to be found and to answer."""

    hidden_size: int
    connect_timeout_seconds: float
    call_timeout_seconds: float
    unix_sockets: bool = True
    credentials: Credentials | None = None


class Connection(Protocol):
    """Several calls may be under way. The thread that sends is the one that receives.

    Call ids are unique within a connection; a worker answers its calls in their order.
    """

    def send(self, call_id: int, frame: bytes) -> None:
        """Start a call. Raises ClusterError."""

    def receive(self, call_id: int, give_up: GiveUp = never) -> bytes:
        """Wait for the frame of the answer to a call; nothing of it is checked but the call's id.

        Raises ClusterError; the connection can be used again afterwards. `give_up` is asked now and then,
        from any thread; when it returns True, all calls under way are lost.
        """

    def abandon(self) -> None:
        """Give up all calls under way, so that their answers can never be taken for a later one's."""

    def close(self) -> None:
        """Release what the connection holds."""
