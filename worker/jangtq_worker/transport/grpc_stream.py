"""One open stream of expert calls, answered in turn. Knows no experts.

Below `grpc.Server`, whose own streams change threads six times a call: here the thread that reads gRPC's
sockets answers quick calls itself, and hands only long ones over to the thread that the stream has.
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
from jangtq_worker.device.admission import InFlight
from jangtq_worker.native_stream import ANY_ROWS, NativeStream, NoReply

QUICK_NS: Final = 2_000_000
SHORT_BYTES: Final = 1 << 16
"""gRPC takes so many whether the other side reads or not."""
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
    """`is_alone` tells whether nobody else would have to wait for a call that is answered at once.

    native: what answers ordinary calls before `answer` is asked, where there is something.
    """

    def __init__(
        self,
        answer: Callable[[pb.ExpertCall], pb.ExpertReply],
        in_flight: InFlight,
        is_alone: Callable[[], bool],
        *,
        native: NativeStream | None = None,
    ) -> None:
        self._answer = answer
        self._in_flight = in_flight
        self._is_alone = is_alone
        self._native = native
        self._until_sent = ExitStack()
        self._handed_over: queue.SimpleQueue[bytes | pb.ExpertCall | Exception | None] = queue.SimpleQueue()
        self._most_rows = 0
        """That are quick, by the time that the call before took; before the first nobody knows."""

    def run(self, context: grpc.ServicerContext) -> None:
        """Until the other side leaves. Raises CallRejectedError for bytes that are no call."""
        self._call: _Call = context._rpc_event.call  # type: ignore[attr-defined]
        context.send_initial_metadata(())
        self._call.start_server_batch((_receiving(),), self._on_received)
        while (work := self._handed_over.get()) is not None:
            if isinstance(work, Exception):
                raise work
            if isinstance(work, pb.ExpertCall):
                self._reply(work)
            elif self._reply_natively(work, ANY_ROWS) is not None:
                self._reply(_read(work))

    def _on_received(self, event: _Event) -> _Finished:
        """Runs in the thread that reads the sockets, which no exception may end."""
        try:
            self._take(event.batch_operations[-1].message())
        except Exception as error:
            self._handed_over.put(error)
        return _NOTHING_FINISHED

    def _take(self, data: bytes | None) -> None:
        if data is None:
            self._handed_over.put(None)
        elif self._native is None:
            self._take_call(_read(data))
        elif self._most_rows and self._native.asks_alone():
            if (no_reply := self._reply_natively(data, self._most_rows)) is NoReply.TOO_LONG:
                self._handed_over.put(data)
            elif no_reply is not None:
                self._take_call(_read(data))
        else:
            self._handed_over.put(data)

    def _take_call(self, call: pb.ExpertCall) -> None:
        if call.row_count <= self._most_rows and self._is_alone():
            self._reply(call)
        else:
            self._handed_over.put(call)

    def _reply_natively(self, data: bytes, most_rows: int) -> NoReply | None:
        """None where a reply was sent."""
        assert self._native is not None, "who replies natively has it"
        with self._in_flight:
            reply = self._native.answer(data, most_rows)
            if isinstance(reply, NoReply):
                return reply
            self._most_rows = _quick_rows(self._native.row_ns.value)
            self._send(reply)
            return None

    def _reply(self, call: pb.ExpertCall) -> None:
        with self._in_flight:
            reply = self._answer(call)
            self._most_rows = _quick_rows(reply.compute_ns / max(call.row_count, 1))
            self._send(reply.SerializeToString())

    def _send(self, data: bytes) -> None:
        """Send a reply, and await the next call; a short one together, which spares gRPC a turn."""
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


def _read(data: bytes) -> pb.ExpertCall:
    """Raises CallRejectedError for bytes that are no call."""
    try:
        return pb.ExpertCall.FromString(data)
    except DecodeError as error:
        raise CallRejectedError(f"the message is no ExpertCall: {error}") from error


def _quick_rows(row_ns: float) -> int:
    """How many rows are quick where each takes so long."""
    return int(QUICK_NS / max(row_ns, 1))


def _receiving() -> object:
    """A new one each time, since it keeps the bytes that it received."""
    return cygrpc.ReceiveMessageOperation(_NO_FLAGS)
