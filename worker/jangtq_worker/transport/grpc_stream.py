"""One open stream of expert calls, answered in turn. Knows no experts.

It works below `grpc.Server`, whose own streams change threads six times a call: here the thread that reads
gRPC's sockets answers quick calls itself, and passes only long ones to the stream's own thread.
"""

import queue
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, Protocol

import grpc
from google.protobuf.message import DecodeError
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from jangtq_proto.errors import CallRejectedError
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.wire.frames import read_call_head, read_compute_ns
from jangtq_worker.device.admission import InFlight

QUICK_NS: Final = 2_000_000
SHORT_BYTES: Final = 1 << 16
"""gRPC accepts this many bytes even if the other side does not read."""
_NO_FLAGS: Final = 0
_Finished = tuple[None, tuple[()]]
_NOTHING_FINISHED: Final[_Finished] = (None, ())


class _Operation(Protocol):
    def message(self) -> bytes | None: ...


class _Event(Protocol):
    batch_operations: tuple[_Operation, ...]


class _Call(Protocol):
    def start_server_batch(
        self, operations: tuple[object, ...], tag: Callable[[_Event], _Finished]
    ) -> object: ...


class CallStream:
    """`answer` makes the frame of an answer from that of a call.

    is_alone: whether no other stream would wait for a call that is answered at once.
    """

    def __init__(
        self, answer: Callable[[bytes], bytes], in_flight: InFlight, is_alone: Callable[[], bool]
    ) -> None:
        self._answer = answer
        self._in_flight = in_flight
        self._is_alone = is_alone
        self._until_sent = ExitStack()
        self._handed_over: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()
        self._most_rows = 0
        """The rows of a quick call, by the time of the call before; unknown before the first."""

    def run(self, context: grpc.ServicerContext) -> None:
        """Answer calls until the other side leaves.

        Raises CallRejectedError for bytes that are not a call.
        """
        self._call: _Call = context._rpc_event.call  # type: ignore[attr-defined]
        context.send_initial_metadata(())
        self._call.start_server_batch((_receiving(),), self._on_received)
        while (work := self._handed_over.get()) is not None:
            if isinstance(work, Exception):
                raise work
            self._reply(work, read_call_head(work)[1])

    def _on_received(self, event: _Event) -> _Finished:
        """Runs in the thread that reads the sockets; no exception may end it."""
        try:
            self._take(event.batch_operations[-1].message())
        except Exception as error:
            self._handed_over.put(error)
        return _NOTHING_FINISHED

    def _take(self, data: bytes | None) -> None:
        if data is None:
            self._handed_over.put(None)
            return
        frame = _read(data)
        row_count = read_call_head(frame)[1]
        if row_count <= self._most_rows and self._is_alone():
            self._reply(frame, row_count)
        else:
            self._handed_over.put(frame)

    def _reply(self, frame: bytes, row_count: int) -> None:
        with self._in_flight:
            answer = self._answer(frame)
            self._most_rows = QUICK_NS * max(row_count, 1) // max(read_compute_ns(answer), 1)
            self._send(pb.Frame(data=answer).SerializeToString())

    def _send(self, data: bytes) -> None:
        """Send a reply and await the next call; a short reply in one operation, which saves gRPC a turn."""
        sending = cygrpc.SendMessageOperation(data, _NO_FLAGS)
        if len(data) <= SHORT_BYTES:
            self._call.start_server_batch((sending, _receiving()), self._on_received)
            return
        self._until_sent.enter_context(self._in_flight)
        try:
            self._call.start_server_batch((sending,), self._on_sent)
        except BaseException:
            self._until_sent.close()
            raise

    def _on_sent(self, event: _Event) -> _Finished:
        self._until_sent.close()
        self._call.start_server_batch((_receiving(),), self._on_received)
        return _NOTHING_FINISHED


def _read(data: bytes) -> bytes:
    """Raises CallRejectedError for bytes that are no Frame."""
    try:
        return pb.Frame.FromString(data).data
    except DecodeError as error:
        raise CallRejectedError(f"the message is no Frame: {error}") from error


def _receiving() -> object:
    """A new operation each time, since it keeps the bytes that it received."""
    return cygrpc.ReceiveMessageOperation(_NO_FLAGS)
