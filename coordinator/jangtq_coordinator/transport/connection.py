"""The way to one worker of experts, as the dispatcher sees it: send calls, then receive their answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.row_type import RowType


class LayerAnswer(NamedTuple):
    """int32 [rows, hidden] partial sums, int8 [rows] finest exponents; nanoseconds of worker and decoding."""

    partial_sums: NDArray[np.int32]
    finest: NDArray[np.int8]
    queue_ns: int
    compute_ns: int
    decode_ns: int = 0


GiveUp = Callable[[], bool]


def never() -> bool:
    """For whoever waits as long as the connection itself allows."""
    return False


@dataclass(frozen=True)
class ConnectionSettings:
    """How calls travel, and how long a worker may take to be found and to answer."""

    hidden_size: int
    row_type: RowType
    connect_timeout_seconds: float
    call_timeout_seconds: float
    unix_sockets: bool = True
    credentials: Credentials | None = None


class Connection(Protocol):
    """Several calls may be under way. The thread that sends is the one that receives."""

    def send(self, call: LayerCall) -> int:
        """Start a call and return its id, unique within the connection. Raises ClusterError."""

    def receive(self, call_id: int, give_up: GiveUp = never) -> LayerAnswer:
        """Wait for the answer to a call. Raises ClusterError; the connection can be used again afterwards.

        `give_up` is asked now and then, from any thread; when it says so, all calls under way are lost.
        """

    def abandon(self) -> None:
        """Give up all calls under way, so that their answers can never be taken for a later one's."""

    def close(self) -> None:
        """Release whatever the connection holds."""
