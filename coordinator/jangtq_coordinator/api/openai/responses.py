"""POST /v1/responses, streamed or whole, and the responses kept for later turns."""

from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from jangtq_coordinator.api.chat.generation import Generations
from jangtq_coordinator.api.http.access import key_name_of
from jangtq_coordinator.api.http.json_reply import JsonReply, encode
from jangtq_coordinator.api.http.sse import Answering
from jangtq_coordinator.api.openai.response_events import Event, replay
from jangtq_coordinator.api.openai.response_items import Item, with_ids
from jangtq_coordinator.api.openai.response_store import KEPT, ResponseStore, Stored
from jangtq_coordinator.api.openai.response_writer import ResponseWriter
from jangtq_coordinator.api.openai.responses_schema import ResponseRequest
from jangtq_proto.errors import RequestError

Limit = Annotated[int, Query(ge=1, le=100)]


def responses_router(turns: Generations, answering: Answering) -> APIRouter:
    """The routes of OpenAI's responses API over one engine."""
    router = APIRouter()
    kept = KeptResponses(ResponseStore())

    @router.post("/v1/responses", response_model=None)
    async def create_response(body: ResponseRequest, request: Request) -> Response:
        """Continue a conversation by one response of the model."""
        owner = key_name_of(request.scope)
        earlier, asked = kept.before(body, owner), kept.complete(body, owner)
        turn = await turns.begin(asked.chat(earlier))

        def keep(writer: ResponseWriter) -> None:
            if asked.store is not False:
                items = [*earlier, *with_ids(asked.input)]
                kept.store.put(owner, writer.whole(), items, earlier=len(earlier))

        writer = ResponseWriter(turn, asked, on_end=keep)
        return await answering.answer(turn.stream, writer, request, streaming=bool(asked.stream))

    @router.post("/v1/responses/input_tokens", response_model=None)
    async def count_input(body: ResponseRequest, request: Request) -> Response:
        """How many tokens the prompt of such a request has."""
        owner = key_name_of(request.scope)
        count = await turns.count(kept.complete(body, owner).chat(kept.before(body, owner)))
        return JSONResponse({"object": "response.input_tokens", "input_tokens": count})

    _add_kept_routes(router, kept)
    return router


def _add_kept_routes(router: APIRouter, kept: "KeptResponses") -> None:
    @router.get("/v1/responses/{response_id}", response_model=None)
    async def get_response(
        response_id: str, request: Request, stream: bool = False, starting_after: int = -1
    ) -> Response:
        """A response that is still kept, at once or as the events that brought it."""
        body = kept.get(response_id, key_name_of(request.scope)).body
        if not stream:
            return JsonReply(body)
        return StreamingResponse(_frames(replay(body), starting_after), media_type="text/event-stream")

    @router.get("/v1/responses/{response_id}/input_items", response_model=None)
    async def list_input_items(
        response_id: str,
        request: Request,
        limit: Limit = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> Response:
        """The items that a response answered, newest first unless asked otherwise."""
        items = list(kept.get(response_id, key_name_of(request.scope)).items)
        return JsonReply(_page(items if order == "asc" else items[::-1], limit=limit, after=after))

    @router.post("/v1/responses/{response_id}/cancel", response_model=None)
    async def cancel_response(response_id: str, request: Request) -> Response:
        """Refused: no response runs in the background."""
        kept.get(response_id, key_name_of(request.scope))
        raise HTTPException(
            400,
            f"response {response_id!r} is complete. Only responses with background: true can be cancelled, "
            "and this server has none; to end a response that is running, close its connection",
        )

    @router.delete("/v1/responses/{response_id}", response_model=None)
    async def delete_response(response_id: str, request: Request) -> Response:
        """Forget a response."""
        owner = key_name_of(request.scope)
        kept.get(response_id, owner)
        kept.store.delete(owner, response_id)
        return JSONResponse({"id": response_id, "object": "response", "deleted": True})


class KeptResponses:
    """The responses and items that requests name. Raises RequestError for those that are not kept."""

    def __init__(self, store: ResponseStore) -> None:
        self.store = store

    def get(self, response_id: str, owner: str | None) -> Stored:
        """Raises HTTPException."""
        stored = self.store.get(owner, response_id)
        if stored is None:
            raise HTTPException(404, f"no response {response_id!r} is kept here; {KEPT}")
        return stored

    def before(self, body: ResponseRequest, owner: str | None) -> list[Item]:
        """The items of the responses that a request goes on from. Raises RequestError."""
        if body.previous_response_id is None:
            return []
        try:
            return self.get(body.previous_response_id, owner).conversation
        except HTTPException as error:
            name = "previous_response_id"
            raise RequestError(f"{name}: {error.detail}", param=name) from None

    def complete(self, body: ResponseRequest, owner: str | None) -> ResponseRequest:
        """The request with items in place of their references. Raises RequestError."""
        return body.referring(lambda item_id: self._item(item_id, owner))

    def _item(self, item_id: str, owner: str | None) -> Item:
        item = self.store.item(owner, item_id)
        if item is None:
            raise RequestError(
                f"input: no item {item_id!r} is kept here (those of the last responses are, in memory, "
                "unless their request said store: false): send the item itself",
                param="input",
            )
        return item


def _page(items: list[Item], *, limit: int, after: str | None) -> dict[str, object]:
    """A page of a list as OpenAI's clients read it. Raises RequestError."""
    ids = [item.id for item in items]
    if after is not None and after not in ids:
        raise RequestError(f"after: no item {after!r} is in this list", param="after")
    rest = items if after is None else items[ids.index(after) + 1 :]
    page = rest[:limit]
    return {
        "object": "list",
        "data": [item.body() for item in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": len(rest) > limit,
    }


async def _frames(events: Iterable[Event], starting_after: int) -> AsyncIterator[bytes]:
    for number, (kind, members) in enumerate(events):
        if number > starting_after:
            body = {"type": kind, "sequence_number": number, **members}
            yield f"event: {kind}\ndata: ".encode() + encode(body) + b"\n\n"
