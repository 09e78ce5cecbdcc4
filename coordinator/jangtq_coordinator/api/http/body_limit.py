"""Refuses request bodies above a limit, one by one and all together, before they are held in memory."""

from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jangtq_coordinator.api.http.error_responses import Problem

_MOST_AT_ONCE: Final = 8
"""The bodies of all requests in progress together may have this many times --max-body-bytes."""
_SOON: Final = {"Retry-After": "1"}


class BodyLimit:
    """ASGI middleware. Refuses a Content-Length that is too large, and counts the bytes in any case."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdigit() and int(length) > self._max_bytes:
            problem = Problem(413, self._message(f"{int(length)} bytes"))
            await problem.response({"Connection": "close"})(scope, receive, send)
            return
        body = _Body()
        try:
            await self._app(scope, self._counting(receive, body), send)
        finally:
            self._held -= body.taken

    def _counting(self, receive: Receive, body: "_Body") -> Receive:
        async def receive_counted() -> Message:
            message = await receive()
            count = len(message.get("body", b""))
            body.taken += count
            self._held += count
            if self._held > self._max_bytes * _MOST_AT_ONCE:
                raise HTTPException(503, "too many large requests at once", {"Connection": "close"} | _SOON)
            if body.taken > self._max_bytes:
                # FastAPI lets an HTTPException pass where it reads the body.
                raise HTTPException(413, self._message("more"), {"Connection": "close"})
            return message

        return receive_counted

    def _message(self, given: str) -> str:
        return f"the body has {given}: allowed are {self._max_bytes} bytes"


@dataclass
class _Body:
    """The bytes of one request's body received so far."""

    taken: int = 0
