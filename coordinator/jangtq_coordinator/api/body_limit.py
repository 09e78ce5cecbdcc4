"""Refuses request bodies above a limit before they are held in memory."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jangtq_coordinator.api.errors import Problem


class BodyLimit:
    """ASGI middleware. Believes a Content-Length that is too large, and counts bytes in any case."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdigit() and int(length) > self._max_bytes:
            problem = Problem(413, self._message(f"{int(length)} bytes"))
            await problem.response({"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, self._counting(receive), send)

    def _counting(self, receive: Receive) -> Receive:
        taken = 0

        async def receive_counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_bytes:
                # FastAPI passes an HTTPException on from where it reads the body.
                raise HTTPException(413, self._message("more"), {"Connection": "close"})
            return message

        return receive_counted

    def _message(self, given: str) -> str:
        return f"the body has {given}: allowed are {self._max_bytes} bytes"
