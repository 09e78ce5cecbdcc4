"""HTTP connections under limits: their number, and the time to send a request and to read an answer."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from jangtq_coordinator.api.http.error_responses import Problem
from jangtq_coordinator.config import ConnectionLimits

_log = logging.getLogger("jangtq.api")
_MAY_ANSWER: Final = (h11.IDLE, h11.SEND_RESPONSE)


def protocol_within(limits: ConnectionLimits) -> type[H11Protocol]:
    """uvicorn's protocol class with these limits."""
    return type("LimitedProtocol", (_LimitedProtocol,), {"limits": limits})


class _Alarm:
    """Calls a function once after some seconds, unless it is stopped before."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Does nothing if the alarm runs already."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._action)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _LimitedProtocol(H11Protocol):
    limits: ConnectionLimits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._arrival = _Alarm(self._give_up_waiting)
        self._stall = _Alarm(self._give_up_stalled)
        super().connection_made(transport)
        # Any unsent data pauses writing, so that a client that reads nothing is noticed at once. Not 0:
        # with TLS an empty buffer would then count as too full.
        transport.set_write_buffer_limits(high=1)
        if len(self.connections) > self.limits.most:
            self._refuse(
                Problem(503, f"{self.limits.most} connections are open already", type="server_error")
            )
        else:
            self._arrival.start(self.limits.request_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrival.stop()
        self._stall.stop()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        state = self.conn.their_state
        if state is h11.SEND_BODY or (state is h11.IDLE and self.conn.trailing_data[0]):
            self._arrival.start(self.limits.request_seconds)
        else:
            self._arrival.stop()

    def _should_upgrade(self) -> bool:
        """Never upgrade, and skip the two warnings that uvicorn logs for each client that asks."""
        return False

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.start(self.limits.stalled_seconds)

    def resume_writing(self) -> None:
        self._stall.stop()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Called for bytes that are not HTTP, and for heads above the limit."""
        limit = f"heads may have {self.limits.header_bytes} bytes"
        self._refuse(Problem(400, f"this is not a valid HTTP request; {limit}"))

    def _give_up_waiting(self) -> None:
        seconds = self.limits.request_seconds
        self._refuse(Problem(408, f"the request was not complete after {seconds:g} s"))

    def _give_up_stalled(self) -> None:
        _log.info("a client read nothing for %g s: its connection is closed", self.limits.stalled_seconds)
        self.transport.abort()

    def _refuse(self, problem: Problem) -> None:
        """Answer without the application, if an answer is still possible, and close the connection."""
        if self.conn.our_state in _MAY_ANSWER:
            body = bytes(problem.response().body)
            head = h11.Response(
                status_code=problem.status,
                headers=[("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
                + [("Connection", "close")],
            )
            data = () if self._answers_head() else (h11.Data(data=body),)
            for event in (head, *data, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self._leave_application()
        self.transport.close()

    def _answers_head(self) -> bool:
        return self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"

    def _leave_application(self) -> None:
        """For a request in progress the client is gone; what it still sends is not allowed."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
