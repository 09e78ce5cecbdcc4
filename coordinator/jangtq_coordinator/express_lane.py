"""A lane over a plain socket with nothing but calls and answers on it; gRPC lets in, and stands in for it."""

import logging
import time

import grpc

from jangtq_coordinator.express_door import Door, ExpressSettings, enter
from jangtq_coordinator.grpc_lane import GrpcLane, LaneSettings, other_call
from jangtq_coordinator.lane import LayerAnswer, LayerCall
from jangtq_proto.codec import DecodedCall, decode_partial_sums
from jangtq_proto.errors import CallRejectedError, ClusterError, WorkerFaultError, error_of_number
from jangtq_proto.frame_socket import FrameSocket
from jangtq_proto.frames import OK, AnswerFrame, call_frame, frame_limit, read_answer

_log = logging.getLogger("jangtq.cluster")


class ExpressLane:
    """Calls go over gRPC while the express lane cannot be had; it is tried again after a pause.

    A call that is under way when the lane breaks fails as it would over gRPC.
    """

    def __init__(self, control: GrpcLane, settings: LaneSettings, express: ExpressSettings) -> None:
        self._control = control
        self._settings = settings
        self._express = express
        self._limit = frame_limit(settings.hidden_size)
        self._frames: FrameSocket | None = None
        self._retry_at = 0.0
        self._call_id = 0
        self._shape = (0, 0)

    def send(self, call: LayerCall) -> None:
        frames = self._frames or self._open()
        if frames is None:
            self._control.send(call)
            return
        self._call_id += 1
        self._shape = (call.rows.shape[0], call.rows.shape[1])
        message = DecodedCall(self._call_id, call.layer, call.rows, call.expert_ids, call.router_weights)
        try:
            frames.send(call_frame(message, self._settings.row_type))
        except OSError as error:
            raise self._broken(error) from error

    def receive(self) -> LayerAnswer:
        if self._frames is None:
            return self._control.receive()
        try:
            frame = self._frames.receive(self._limit)
            if frame is None:
                raise ConnectionResetError("the worker closed the connection")
            answer = read_answer(frame)
        except OSError as error:
            raise self._broken(error) from error
        except CallRejectedError as error:
            self.abandon()
            raise WorkerFaultError(f"worker {self._control.address} sent no answer: {error}") from error
        return self._read(answer)

    def abandon(self) -> None:
        self._control.abandon()
        if self._frames is not None:
            self._frames.close()
            self._frames = None

    def close(self) -> None:
        self.abandon()
        self._control.close()

    def _read(self, answer: AnswerFrame) -> LayerAnswer:
        worker = f"worker {self._control.address}"
        if answer.status != OK:
            message = bytes(answer.payload).decode(errors="replace")
            raise error_of_number(answer.status, f"{worker}: {message}")
        if answer.call_id != self._call_id:
            self.abandon()
            raise other_call(self._control.address, answered=answer.call_id, asked=self._call_id)
        # A copy, because the next answer is read into the same buffer.
        payload = bytes(answer.payload)
        sums = decode_partial_sums(payload, self._shape, self._settings.row_type)
        return LayerAnswer(sums, queue_ns=answer.queue_ns, compute_ns=answer.compute_ns)

    def _open(self) -> FrameSocket | None:
        """None while gRPC has to do. Raises ClusterError when the worker is gone or another one."""
        if time.monotonic() < self._retry_at:
            return None
        self._control.check_unchanged()
        try:
            self._frames = self._enter()
        except (OSError, ClusterError) as error:
            _log.warning("worker %s: no express lane, using gRPC: %s", self._control.address, error)
            self._pause()
            return None
        self._frames.set_timeout(self._settings.call_timeout_seconds)
        self._control.abandon()
        return self._frames

    def _enter(self) -> FrameSocket:
        reply = self._control.open_express()
        host = self._control.address.host
        path = self._control.local_path(reply.local_socket)
        if path is not None:
            try:
                return self._enter_by(Door(host, reply.port, path), reply.ticket)
            except OSError as error:
                _log.info("worker %s: no way in at %s, using TCP: %s", self._control.address, path, error)
        return self._enter_by(Door(host, reply.port), reply.ticket)

    def _enter_by(self, door: Door, ticket: bytes) -> FrameSocket:
        frames = enter(door, ticket, self._express)
        _log.info("worker %s: express lane over %s", self._control.address, door)
        return frames

    def _broken(self, error: OSError) -> ClusterError:
        self.abandon()
        self._pause()
        if isinstance(error, TimeoutError):
            seconds = self._settings.call_timeout_seconds
            return self._control.explain(
                grpc.StatusCode.DEADLINE_EXCEEDED, str(error), waited_seconds=seconds
            )
        return self._control.explain(grpc.StatusCode.UNAVAILABLE, str(error))

    def _pause(self) -> None:
        self._retry_at = time.monotonic() + self._express.retry_seconds
