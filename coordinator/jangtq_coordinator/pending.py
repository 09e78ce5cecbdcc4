"""The calls of one lane that wait for their answers, matched by id. Knows no transport."""

from collections.abc import Callable
from typing import NamedTuple

from jangtq_coordinator.lane import LayerAnswer
from jangtq_proto.errors import ClusterError, WorkerFaultError, WorkerUnreachableError


class Received(NamedTuple):
    """What a lane read: the answer to a call, or why there is none. `answer` may raise ClusterError."""

    call_id: int
    answer: Callable[[tuple[int, int]], LayerAnswer]


class PendingCalls:
    """`worker` is what errors call the other side."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._newest = 0
        self._shapes: dict[int, tuple[int, int]] = {}
        self._early: dict[int, LayerAnswer | ClusterError] = {}

    def __contains__(self, call_id: int) -> bool:
        return call_id in self._shapes

    def __len__(self) -> int:
        return len(self._shapes)

    def begin(self, call_id: int, shape: tuple[int, int]) -> None:
        """A call with an answer of this shape, [rows, hidden], is about to leave."""
        self._newest = call_id
        self._shapes[call_id] = shape

    def wait(self, call_id: int, read: Callable[[], Received]) -> LayerAnswer:
        """The answer to a call, reading what comes until it is there. Raises ClusterError."""
        while call_id not in self._early:
            if call_id not in self._shapes:
                raise WorkerUnreachableError(f"{self._worker}: the call was lost with its connection")
            self._keep(read())
        del self._shapes[call_id]
        result = self._early.pop(call_id)
        if isinstance(result, ClusterError):
            raise result
        return result

    def clear(self) -> None:
        """Forget them all."""
        self._shapes.clear()
        self._early.clear()

    def _keep(self, received: Received) -> None:
        """Answers to calls that were given up are dropped; one that nobody ever asked for is a fault."""
        if received.call_id > self._newest or received.call_id < 1:
            raise WorkerFaultError(
                f"{self._worker} answered call {received.call_id}, the newest is {self._newest}"
            )
        if received.call_id not in self._shapes:
            return
        try:
            self._early[received.call_id] = received.answer(self._shapes[received.call_id])
        except ClusterError as error:
            self._early[received.call_id] = error
