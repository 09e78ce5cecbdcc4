"""HEAD for every path that has GET: the same status and headers without the body.

Claude Code asks HEAD / whether a server is there.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """ASGI middleware, outside of the routes, which know GET only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            body = {"body": b""} if message["type"] == "http.response.body" else {}
            await send({**message, **body})

        # In place, so that the layers outside see which route it was.
        scope["method"] = "GET"
        await self._app(scope, receive, send_head)
