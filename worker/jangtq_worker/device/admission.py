"""Admits expert calls to this worker's shard, from any connection. Knows no transport."""

import threading
import time
from types import TracebackType
from typing import Final

from jangtq_kernels.backend import LoadedLayer
from jangtq_proto.errors import ClusterError, WorkerBusyError, WorkerFaultError, WorkerUnreachableError
from jangtq_proto.grpc_status import status_number
from jangtq_proto.sockets.inbox import Inbox
from jangtq_proto.wire.codec import CallShape, decode_call
from jangtq_proto.wire.frames import (
    CALL_HEAD_BYTES,
    NO_CALL,
    answer_frame,
    failure_frame,
    read_call,
    read_call_head,
)
from jangtq_worker.device.activity import Activity, StreamActivity
from jangtq_worker.device.chunks import SLICE_ROWS
from jangtq_worker.device.shard import Shard

_LOOK_SECONDS: Final = 0.01


class InFlight:
    """`with in_flight:` counts one more while the block runs. Raises WorkerBusyError when full."""

    def __init__(self, what: str, most: int | None = None) -> None:
        self._what = what
        self._most = most
        self.count = 0
        self.total = 0
        self._state = threading.Lock()
        self._fewer = threading.Condition(self._state)
        self._is_awaited = False

    def wait_until_none(self, timeout_seconds: float) -> bool:
        """False if the time-out came first."""
        end = time.monotonic() + timeout_seconds
        with self._state:
            self._is_awaited = True
            while self.count and (left := end - time.monotonic()) > 0:
                self._fewer.wait(min(left, _LOOK_SECONDS))
            return self.count == 0

    def __enter__(self) -> None:
        with self._state:
            if self._most is not None and self.count >= self._most:
                raise WorkerBusyError(f"this worker already serves {self._most} {self._what}")
            self.count += 1
            self.total += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._state:
            self.count -= 1
            if self._is_awaited:
                self._fewer.notify_all()


class Admission:
    """Refuses calls until `serve` gives it a shard, and again after `drain`.

    A transport counts each stream in `streams`, has it in `activity`, and counts each call in `in_flight`
    until its answer left.
    """

    def __init__(self, shape: CallShape, *, max_streams: int, max_calls: int | None = None) -> None:
        self.shape = shape
        self.streams = InFlight("streams", max_streams)
        self.in_flight = InFlight("calls")
        self._computing = InFlight("calls at once", max_calls)
        self.activity = Activity()
        self._shard: Shard | None = None
        self._draining = False

    def serve(self, shard: Shard) -> None:
        """Start to answer calls."""
        self._shard = shard

    def hold(self, layers: tuple[LoadedLayer, ...]) -> None:
        """Use these layers from the next call on. Raises ClusterError before `serve`."""
        self.shard().hold(layers)

    def wait_until_left(self, *, quiet_seconds: float, timeout_seconds: float) -> None:
        """Wait until every stream is closed, or those left have been quiet for `quiet_seconds`."""
        end = time.monotonic() + timeout_seconds
        while time.monotonic() < end:
            before = self.in_flight.total
            if self.streams.wait_until_none(quiet_seconds) or self.in_flight.total == before:
                return

    def drain(self, timeout_seconds: float) -> bool:
        """Refuse new calls and wait for those in flight; False if some still ran at the time-out."""
        self._draining = True
        return self.in_flight.wait_until_none(timeout_seconds)

    def shard(self) -> Shard:
        """The shard. Raises ClusterError while there is none."""
        if self._draining:
            raise WorkerUnreachableError("this worker is stopping")
        if self._shard is None:
            raise WorkerBusyError("this worker is still loading its experts")
        return self._shard

    def is_quiet_for(self, stream: StreamActivity) -> bool:
        """Whether a call of this stream now would make no other stream wait."""
        return self.activity.is_alone(stream) and self.in_flight.count == 0

    def answer(self, frame: bytes, stream: StreamActivity | None = None) -> bytes:
        """The answer's frame for a call's frame, in every case.

        With too many calls in flight the answer is WorkerBusyError; the call may come later, or go to another
        worker. stream: the stream over which it came, if any.
        """
        call_id = NO_CALL
        try:
            call_id, row_count = read_call_head(frame)
            if stream is not None:
                stream.note(is_long=row_count > SLICE_ROWS)
            with self._computing:
                return self._answer(call_id, row_count, frame, stream)
        except ClusterError as error:
            return failure_frame(call_id, status_number(error), str(error))
        except Exception as error:  # a kernel that fails must cost this call, not the stream
            fault = WorkerFaultError(f"{type(error).__name__}: {error}")
            return failure_frame(call_id, status_number(fault), str(fault))

    def answer_inbox(self, inbox: Inbox, stream: StreamActivity) -> memoryview | None:
        """Answer the call with which an inbox begins, and send what its socket takes at once.

        Returns the rest of the answer, which is to be sent; None if the call is still to be answered.
        """
        shard = self._shard
        if shard is None or self._draining or inbox.state.filled < CALL_HEAD_BYTES:
            return None
        row_count = read_call_head(inbox.view)[1]
        if row_count > SLICE_ROWS:
            return None
        stream.note(is_long=False)
        try:
            with self._computing:
                return shard.answer_inbox(inbox.address)
        except WorkerBusyError:
            return None

    def _answer(self, call_id: int, row_count: int, frame: bytes, stream: StreamActivity | None) -> bytes:
        shard = self.shard()

        def has_others() -> bool:
            return self.activity.is_kept_by_others(stream)

        if row_count <= SLICE_ROWS or not has_others():
            answer = shard.answer_at_once(frame, row_count)
            if answer is not None:
                return answer
        found = shard.forward(decode_call(read_call(frame), self.shape), has_others)
        sums, finest = found.partial_sums.sums, found.partial_sums.finest
        return answer_frame(call_id, sums, finest, queue_ns=found.queue_ns, compute_ns=found.compute_ns)
