"""The way to one holder of experts, as the dispatcher sees it: send a call, then receive its answer."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jangtq_proto.codec import Rows


@dataclass(frozen=True)
class LayerCall:
    """One layer's rows for one holder; shapes as in HolderRows."""

    layer: int
    rows: Rows
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]


@dataclass(frozen=True)
class LayerAnswer:
    """float32 [rows, hidden] partial sums, and what the holder says of its own time."""

    partial_sums: NDArray[np.float32]
    queue_ns: int
    compute_ns: int


class Lane(Protocol):
    """At most one call is under way; the thread that sends is the one that receives."""

    def send(self, call: LayerCall) -> None:
        """Start a call. Raises ClusterError."""

    def receive(self) -> LayerAnswer:
        """Wait for its answer. Raises ClusterError; the lane can be used again afterwards."""

    def abandon(self) -> None:
        """Give up the call under way, if any, so that its answer can never be taken for a later one's."""

    def close(self) -> None:
        """Release whatever the lane holds."""
