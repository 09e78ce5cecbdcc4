"""Paths that clients try and that no text model can serve, refused in words that say what to do."""

from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import APIRouter, HTTPException
from starlette.responses import Response

_ELSEWHERE: Final = "Use another server for it, and this one for chat, responses, messages and completions."
_REFUSED: Final = {
    "/v1/embeddings": f"this server has no embeddings: its model generates text. {_ELSEWHERE}",
    "/v1/rerank": f"this server does not rank: its model generates text. {_ELSEWHERE}",
    "/v1/images/generations": f"this server makes no images: its model generates text. {_ELSEWHERE}",
    "/v1/images/edits": f"this server edits no images: its model reads and writes text. {_ELSEWHERE}",
    "/v1/audio/speech": f"this server does not speak: its model generates text. {_ELSEWHERE}",
    "/v1/audio/transcriptions": f"this server hears nothing: its model reads text. {_ELSEWHERE}",
    "/v1/moderations": f"this server does not moderate. {_ELSEWHERE}",
    "/v1/files": "this server keeps no files: put their text into a message.",
    "/v1/batches": "this server has no batches: send the requests at once.",
    "/v1/messages/batches": "this server has no batches: send the requests at once.",
    "/v1/conversations": "this server keeps no conversations: use previous_response_id, or send all items.",
    "/v1/responses/compact": "this server does not compact: send fewer items, or truncation: auto.",
}


def refusing_router() -> APIRouter:
    """One route for each; the status is that of a path that is not there."""
    router = APIRouter()
    for path, message in _REFUSED.items():
        router.add_api_route(
            path, _refusal(message), methods=["POST"], include_in_schema=False, response_model=None
        )
    return router


def _refusal(message: str) -> Callable[[], Awaitable[Response]]:
    async def refuse() -> Response:
        raise HTTPException(404, message)

    return refuse
