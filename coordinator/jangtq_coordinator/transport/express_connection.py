"""A connection over a plain socket with calls and answers only; gRPC opens it and stands in for it."""

import logging
import os
import time

import grpc

from jangtq_coordinator.transport.answer_decoding import decode_answer
from jangtq_coordinator.transport.connection import ConnectionSettings, GiveUp, LayerAnswer, never
from jangtq_coordinator.transport.express_handshake import ExpressEndpoint, ExpressSettings, enter
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_coordinator.transport.pending_calls import PendingCalls
from jangtq_proto.errors import (
    CallRejectedError,
    ClusterError,
    WorkerFaultError,
    WorkerUnreachableError,
)
from jangtq_proto.grpc_status import error_of_number
from jangtq_proto.sockets.frame_socket import FrameSocket
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.frames import (
    NO_CALL,
    OK,
    AnswerFrame,
    call_frame,
    frame_limit,
    read_answer,
    split_answer,
)
from jangtq_proto.wire.row_type import RowType

_log = logging.getLogger("jangtq.cluster")


class ExpressConnection:
    """Calls go over gRPC while the express transport cannot be had; it is tried again after a pause.

    A call that is under way when the connection breaks fails as it would over gRPC.
    """

    def __init__(
        self, control: GrpcConnection, settings: ConnectionSettings, express: ExpressSettings
    ) -> None:
        self._control = control
        self._settings = settings
        self._express = express
        self._limit = frame_limit(settings.hidden_size)
        self._frames: FrameSocket | None = None
        self.plain_frames: FrameSocket | None = None
        """The connection where calls may be sent over it by whoever knows sockets only."""
        self._retry_at = 0.0
        self._worker = f"worker {control.address}"
        self._pending = PendingCalls(self._worker, self._decode)

    def send(self, call: LayerCall) -> int:
        if self._frames is not None and not self._pending and self._control.is_outdated:
            self.abandon()
        frames = self._frames or self._open()
        if frames is None:
            return self._control.send(call)
        call_id = self._control.next_call_id()
        self._send(frames, call_id, call)
        return call_id

    def send_rest(self, call_id: int, call: LayerCall, *, sent_bytes: int, error_number: int) -> None:
        """Go on sending where somebody else got so far with the frame of a call. Raises ClusterError."""
        self._control.newest_call_id = call_id
        if error_number:
            error = OSError(error_number, os.strerror(error_number))
            raise self._broken(error, waited_seconds=self._settings.call_timeout_seconds)
        if self._frames is None:
            raise WorkerUnreachableError(f"{self._worker}: the call was lost with its connection")
        self._send(self._frames, call_id, call, sent_bytes=sent_bytes)

    def receive(self, call_id: int, give_up: GiveUp = never) -> LayerAnswer:
        if call_id not in self._pending:
            return self._control.receive(call_id, give_up)
        try:
            return self._pending.wait(call_id, lambda: self._read(give_up))
        except ClusterError:
            if call_id in self._pending:  # nothing that follows can be trusted
                self.abandon()
            raise

    @property
    def row_type(self) -> RowType:
        """How rows are sent."""
        return self._settings.row_type

    @property
    def newest_call_id(self) -> int:
        """No call had a larger one yet."""
        return self._control.newest_call_id

    def skip_to(self, call_id: int) -> None:
        """Somebody else sent calls with ids up to this one over `plain_frames`, and read their answers."""
        self._control.newest_call_id = max(self._control.newest_call_id, call_id)
        self._pending.skip_to(call_id)

    def begin_call(self, call_id: int, shape: tuple[int, int]) -> None:
        """Somebody else sent a call over `plain_frames`, whose answer will have this shape."""
        self._control.newest_call_id = call_id
        self._pending.begin(call_id, shape)

    def carries(self, frames: FrameSocket) -> bool:
        """Whether calls still go over this connection."""
        return self._frames is frames

    def reads_next(self, frames: FrameSocket, call_id: int) -> bool:
        """Whether the next byte to be read of this connection begins the answer to this call."""
        return self._frames is frames and not frames.has_unread and self._pending.awaits_next(call_id)

    def end_call(self, call_id: int) -> None:
        """Somebody else read its answer."""
        self._pending.end(call_id)

    def abandon(self) -> None:
        self._pending.clear()
        self._control.abandon()
        if self._frames is not None:
            self._frames.close()
            self._frames = self.plain_frames = None

    def close(self) -> None:
        self.abandon()
        self._control.close()

    def _send(self, frames: FrameSocket, call_id: int, call: LayerCall, *, sent_bytes: int = 0) -> None:
        may_answer = self._limit * len(self._pending)
        try:
            message = call_frame(call_id, call, self._settings.row_type)
            frames.send(message, reading_up_to=may_answer, sent_bytes=sent_bytes)
        except OSError as error:
            raise self._broken(error, waited_seconds=self._settings.call_timeout_seconds) from error
        # Noted while the worker is busy already.
        self._pending.begin(call_id, (call.rows.shape[0], call.rows.shape[1]))

    def _read(self, give_up: GiveUp) -> AnswerFrame:
        assert self._frames is not None, "a call under way has a connection"
        asked = time.monotonic()
        try:
            frame = self._frames.receive(self._limit, give_up)
            if frame is None:
                raise ConnectionResetError("the worker closed the connection")
            answer = read_answer(frame)
        except OSError as error:
            raise self._broken(error, waited_seconds=time.monotonic() - asked) from error
        except CallRejectedError as error:
            raise WorkerFaultError(f"{self._worker} sent no answer: {error}") from error
        if answer.call_id == NO_CALL:
            raise self._failure(answer)
        return answer

    def _decode(self, answer: AnswerFrame, shape: tuple[int, int]) -> LayerAnswer:
        if answer.status != OK:
            raise self._failure(answer)
        # A copy, because the next answer is read into the same buffer.
        sums, finest = split_answer(bytes(answer.payload), shape[0])
        return decode_answer(answer, sums, finest, shape=shape, worker=self._worker)

    def _failure(self, answer: AnswerFrame) -> ClusterError:
        words = bytes(answer.payload).decode(errors="replace")
        return error_of_number(answer.status, f"{self._worker}: {words}")

    def _open(self) -> FrameSocket | None:
        """None while gRPC has to do. Raises ClusterError when the worker is gone or another one."""
        if time.monotonic() < self._retry_at or self._control.calls_under_way:
            return None
        self._control.check_unchanged()
        try:
            self._frames = self._enter()
        except (OSError, ClusterError) as error:
            _log.warning("%s: no express transport, using gRPC: %s", self._worker, error)
            self._pause()
            return None
        self._frames.set_timeout(self._settings.call_timeout_seconds)
        self._control.abandon()
        if self._settings.credentials is None:
            self.plain_frames = self._frames
        return self._frames

    def _enter(self) -> FrameSocket:
        reply = self._control.open_express()
        host = self._control.address.host
        path = self._control.local_path(reply.local_socket)
        if path is not None:
            try:
                return self._enter_by(ExpressEndpoint(host, reply.port, path), reply.ticket)
            except OSError as error:
                _log.info("%s: no way in at %s, using TCP: %s", self._worker, path, error)
        return self._enter_by(ExpressEndpoint(host, reply.port), reply.ticket)

    def _enter_by(self, door: ExpressEndpoint, ticket: bytes) -> FrameSocket:
        frames = enter(door, ticket, self._express)
        _log.info("%s: express transport over %s", self._worker, door)
        return frames

    def _broken(self, error: OSError, *, waited_seconds: float) -> ClusterError:
        self.abandon()
        self._pause()
        if isinstance(error, TimeoutError):
            waited = min(waited_seconds, self._settings.call_timeout_seconds)
            return self._control.explain(grpc.StatusCode.DEADLINE_EXCEEDED, str(error), waited_seconds=waited)
        return self._control.explain(grpc.StatusCode.UNAVAILABLE, str(error))

    def _pause(self) -> None:
        self._retry_at = time.monotonic() + self._express.retry_seconds
