"""POST /v1/responses, streamed or whole, and the responses kept for later turns."""

from collections.abc import Sequence

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import JSONResponse, Response

from jangtq_coordinator.api.chat.chat_messages import ChatMessage
from jangtq_coordinator.api.chat.generation import Generations
from jangtq_coordinator.api.http.access import key_name_of
from jangtq_coordinator.api.http.json_reply import JsonReply
from jangtq_coordinator.api.http.sse import Answering
from jangtq_coordinator.api.openai.response_store import KEPT, ResponseStore, Stored
from jangtq_coordinator.api.openai.response_writer import ResponseWriter
from jangtq_coordinator.api.openai.responses_schema import ResponseRequest
from jangtq_proto.errors import RequestError


def responses_router(turns: Generations, answering: Answering) -> APIRouter:
    """The routes of OpenAI's responses API over one engine."""
    router = APIRouter()
    store = ResponseStore()

    @router.post("/v1/responses", response_model=None)
    async def create_response(body: ResponseRequest, request: Request) -> Response:
        """Continue a conversation by one response of the model."""
        owner, earlier = key_name_of(request.scope), _earlier(body, request)
        turn = await turns.begin(body.chat(earlier))

        def keep(writer: ResponseWriter) -> None:
            if body.store is not False:
                store.put(owner, writer.whole(), [*earlier, *body.messages(), writer.transcript.message])

        writer = ResponseWriter(turn, body, on_end=keep)
        return await answering.answer(turn.stream, writer, request, streaming=bool(body.stream))

    @router.get("/v1/responses/{response_id}", response_model=None)
    async def get_response(response_id: str, request: Request) -> Response:
        """A response that is still kept."""
        return JsonReply(_kept(response_id, request).body)

    @router.delete("/v1/responses/{response_id}", response_model=None)
    async def delete_response(response_id: str, request: Request) -> Response:
        """Forget a response."""
        _kept(response_id, request)
        store.delete(key_name_of(request.scope), response_id)
        return JSONResponse({"id": response_id, "object": "response", "deleted": True})

    def _earlier(body: ResponseRequest, request: Request) -> Sequence[ChatMessage]:
        try:
            previous = body.previous_response_id
            return () if previous is None else _kept(previous, request).messages
        except HTTPException as error:
            raise RequestError(
                f"previous_response_id: {error.detail}", param="previous_response_id"
            ) from None

    def _kept(response_id: str, request: Request) -> Stored:
        stored = store.get(key_name_of(request.scope), response_id)
        if stored is None:
            raise HTTPException(404, f"no response {response_id!r} is kept here; {KEPT}")
        return stored

    return router
