"""The API's paths without /v1, as llama-server and mlx-lm have them."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_FIRST_PARTS: Final = frozenset(
    {"audio", "chat", "completions", "embeddings", "images", "messages", "models", "rerank", "responses"}
)


class ShortPaths:
    """ASGI middleware that puts /v1 before them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_short(scope["path"]):
            scope["path"] = f"/v1{scope['path']}"
        await self._app(scope, receive, send)


def _is_short(path: str) -> bool:
    return path.split("/")[1] in _FIRST_PARTS
