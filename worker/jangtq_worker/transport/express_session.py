"""One express connection: a ticket first, then calls and their answers in turn. Knows no addresses."""

import logging
from typing import Final

import grpc

from jangtq_kernels.native_sockets import RECEIVED, open_receiver
from jangtq_proto.errors import CallRejectedError, WorkerBusyError
from jangtq_proto.grpc_status import status_number
from jangtq_proto.sockets.frame_socket import FrameLimitError, FrameSocket
from jangtq_proto.sockets.inbox import Inbox
from jangtq_proto.wire.frames import GREETING_LIMIT, NO_CALL, OK, failure_frame, frame_limit, read_greeting
from jangtq_worker.device.activity import StreamActivity
from jangtq_worker.device.admission import Admission
from jangtq_worker.transport.tickets import Tickets

GREETING_SECONDS: Final = 5.0
_TOO_LARGE: Final = int(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
_log = logging.getLogger("jangtq.worker.express")


class ExpressSession:
    """Runs in the connection's own thread."""

    def __init__(self, frames: FrameSocket, admission: Admission) -> None:
        self._frames = frames
        self._admission = admission
        self._limit = frame_limit(admission.shape.hidden_size)
        self._receive = open_receiver()

    def run(self, tickets: Tickets) -> None:
        """Answer calls until the other side leaves. Raises OSError if the connection breaks."""
        self._frames.set_timeout(GREETING_SECONDS)
        if not self._shows_ticket(tickets):
            _log.warning("refused an express connection without a good ticket")
            return
        self._frames.set_timeout(None)
        try:
            with self._admission.streams, self._admission.activity.stream() as stream:
                self._frames.send(failure_frame(NO_CALL, OK, ""))
                self._answer_calls(stream)
        except WorkerBusyError as error:
            self._frames.send(failure_frame(NO_CALL, status_number(error), str(error)))

    def _shows_ticket(self, tickets: Tickets) -> bool:
        try:
            frame = self._frames.receive(GREETING_LIMIT)
            return frame is not None and tickets.redeem(read_greeting(frame))
        except (CallRejectedError, FrameLimitError):
            return False

    def _answer_calls(self, stream: StreamActivity) -> None:
        try:
            while True:
                inbox = self._frames.plain_inbox()
                if inbox is not None:
                    self._answer_directly(inbox, stream)
                frame = self._frames.receive(self._limit)
                if frame is None:
                    return
                with self._admission.in_flight:
                    self._frames.send(self._admission.answer(bytes(frame), stream))
        except FrameLimitError as error:
            self._frames.send(failure_frame(NO_CALL, _TOO_LARGE, str(error)))

    def _answer_directly(self, inbox: Inbox, stream: StreamActivity) -> None:
        """Answer calls from socket to socket in native code, until one must be answered otherwise."""
        admission, receive = self._admission, self._receive
        while receive is not None and receive(inbox.address) == RECEIVED:
            with admission.in_flight:
                rest = admission.answer_inbox(inbox, stream)
                if rest is None:
                    return
                if rest:
                    self._frames.send(rest)
