"""The calls of one connection that wait for their answers, matched by id. Knows no transport."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from jangtq_coordinator.transport.connection import LayerAnswer
from jangtq_proto.errors import ClusterError, WorkerFaultError, WorkerUnreachableError


class _Message(Protocol):
    @property
    def call_id(self) -> int: ...


Message = TypeVar("Message", bound=_Message)


class PendingCalls(Generic[Message]):
    """`worker` is what errors call the other side.

    decode: the answer to a call of some shape, [rows, hidden], that a message holds; may raise ClusterError.
    """

    def __init__(self, worker: str, decode: Callable[[Message, tuple[int, int]], LayerAnswer]) -> None:
        self._worker = worker
        self._decode = decode
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

    def skip_to(self, call_id: int) -> None:
        """Calls up to this id were asked and answered by somebody else."""
        self._newest = max(self._newest, call_id)

    def wait(self, call_id: int, read: Callable[[], Message]) -> LayerAnswer:
        """The answer to a call, reading what comes until it is there. Raises ClusterError."""
        while call_id not in self._early:
            shape = self._shapes.get(call_id)
            if shape is None:
                raise WorkerUnreachableError(f"{self._worker}: the call was lost with its connection")
            message = read()
            if message.call_id == call_id:
                del self._shapes[call_id]
                return self._decode(message, shape)
            self._keep(message)
        del self._shapes[call_id]
        result = self._early.pop(call_id)
        if isinstance(result, ClusterError):
            raise result
        return result

    def awaited(self, call_id: int) -> tuple[int, int] | None:
        """The shape of an answer that did not come, [rows, hidden]; None where it came early or is lost."""
        return None if call_id in self._early else self._shapes.get(call_id)

    def awaits_next(self, call_id: int) -> bool:
        """Whether the next answer to come is that to this call, and none waits that came before its turn."""
        return not self._early and next(iter(self._shapes), None) == call_id

    def end(self, call_id: int) -> None:
        """Its answer was read by somebody else."""
        del self._shapes[call_id]

    def clear(self) -> None:
        """Forget them all."""
        self._shapes.clear()
        self._early.clear()

    def _keep(self, message: Message) -> None:
        """Answers to calls that were given up are dropped; one that nobody ever asked for is a fault."""
        if message.call_id > self._newest or message.call_id < 1:
            raise WorkerFaultError(
                f"{self._worker} answered call {message.call_id}, the newest is {self._newest}"
            )
        if message.call_id not in self._shapes:
            return
        try:
            self._early[message.call_id] = self._decode(message, self._shapes[message.call_id])
        except ClusterError as error:
            self._early[message.call_id] = error
