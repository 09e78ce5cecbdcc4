"""The outermost layer of the API: each request gets an id, and at its end an answer and a line."""

import logging
import re
import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jangtq_coordinator import logs
from jangtq_coordinator.api.http.access import key_name_of
from jangtq_coordinator.api.http.error_responses import problem_of
from jangtq_coordinator.api.http.request_metrics import RequestMetrics
from jangtq_coordinator.api.http.request_record import RequestRecord
from jangtq_coordinator.engine.stream_observer import new_observer

ID_HEADERS: Final = ("X-Request-Id", "Request-Id")
"""The headers with the id; Anthropic's clients read the second."""
_USABLE_ID: Final = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_log = logging.getLogger("jangtq.api")


class RequestLog:
    """ASGI middleware. Uses the client's X-Request-Id if it is a plain word."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(self._metrics)
        request_id = request_id_of(Headers(scope=scope))
        id_token = logs.request_id.set(request_id)
        observer_token = new_observer.set(record.new_stream)
        try:
            await self._answer(scope, receive, _noting(send, record, request_id), record)
        finally:
            record.close(method=scope["method"], route=_route_of(scope), key=key_name_of(scope))
            new_observer.reset(observer_token)
            logs.request_id.reset(id_token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        """An answer that has begun cannot become an error any more: the server cuts the connection."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            _log.exception("%s %s failed", scope["method"], _route_of(scope))
            if record.status is None:
                await problem_of(error).response()(scope, receive, send)


def request_id_of(headers: Headers) -> str:
    """The client's own id, or a new one."""
    given = headers.get(ID_HEADERS[0], "")
    return given if _USABLE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def _noting(send: Send, record: RequestRecord, request_id: str) -> Send:
    async def send_noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name in ID_HEADERS:
                headers[name] = request_id
        await send(message)

    return send_noted


def _route_of(scope: Scope) -> str:
    """The route's template; unmatched paths are not logged, since clients could fill logs and metrics with
    them.
    """
    return getattr(scope.get("route"), "path", "unknown")
