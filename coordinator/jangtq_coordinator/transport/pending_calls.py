"""The calls of one connection that wait for their answers, which come in the order of the calls."""

from collections import deque
from collections.abc import Callable

from jangtq_coordinator.transport.connection import GiveUp
from jangtq_proto.errors import CallRejectedError, WorkerFaultError, WorkerUnreachableError
from jangtq_proto.grpc_status import error_of_number
from jangtq_proto.wire.frames import NO_CALL, read_answer, read_answer_id


class PendingCalls:
    """`worker` names the other side in errors. Knows no transport."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._waiting: deque[int] = deque()
        self._early: dict[int, bytes] = {}

    def __contains__(self, call_id: int) -> bool:
        return call_id in self._waiting or call_id in self._early

    def __len__(self) -> int:
        """The number of answers still to be read."""
        return len(self._waiting)

    def begin(self, call_id: int) -> None:
        """Add a call that was sent."""
        self._waiting.append(call_id)

    def take(self, call_id: int, read: Callable[[GiveUp], bytes], give_up: GiveUp) -> bytes:
        """The answer to a call; `read` gives the next frame, and answers to other calls are kept for them.

        Raises ClusterError, of `read` or because the frame is not the answer that is next. Then no frame that
        follows can be trusted.
        """
        while call_id not in self._early:
            if call_id not in self._waiting:
                raise WorkerUnreachableError(f"{self._worker}: the call was lost with its connection")
            frame = read(give_up)
            expected = self._waiting[0]
            self._check(frame, expected)
            self._waiting.popleft()
            if expected == call_id:
                return frame
            self._early[expected] = frame
        return self._early.pop(call_id)

    def clear(self) -> None:
        """Remove all calls."""
        self._waiting.clear()
        self._early.clear()

    def _check(self, frame: bytes, expected: int) -> None:
        try:
            found = read_answer_id(frame)
            if found == expected:
                return
            if found == NO_CALL:
                answer = read_answer(frame)
                raise error_of_number(answer.status, f"{self._worker}: {answer.message}")
        except CallRejectedError as error:
            raise WorkerFaultError(f"{self._worker} sent no answer: {error}") from error
        raise WorkerFaultError(f"{self._worker} answered call {found}, the next to be answered is {expected}")
