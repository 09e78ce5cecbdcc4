"""POST /v1/chat/completions, streamed or whole."""

from collections.abc import Iterable
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from jangtq_coordinator.api.calls import call_reply
from jangtq_coordinator.api.disconnect import cancelled_on_disconnect
from jangtq_coordinator.api.replies import AssistantReply, ChatCompletion, Choice, UsageReply
from jangtq_coordinator.api.schema import ChatRequest
from jangtq_coordinator.api.sse import ChunkWriter, TurnResponse, first_events, write_chunks
from jangtq_coordinator.api.turns import Turn, Turns
from jangtq_coordinator.events import Failed, Finished, GenerationEvent, TokenGenerated
from jangtq_coordinator.reasoning import Channel

# Nobody receives it: the client closed the connection. nginx's number, since HTTP has none.
_CLIENT_GONE: Final = 499


def chat_router(turns: Turns, *, keepalive_seconds: float) -> APIRouter:
    """The chat route over one engine."""
    router = APIRouter()

    @router.post("/v1/chat/completions", response_model=None, responses={200: {"model": ChatCompletion}})
    async def complete_chat(body: ChatRequest, request: Request) -> Response:
        """Continue a conversation by one answer of the model."""
        turn = await turns.begin(body)
        if not body.stream:
            return await answer_whole(turn, request)
        return await answer_streaming(
            turn, request, include_usage=body.include_usage, keepalive_seconds=keepalive_seconds
        )

    return router


async def answer_whole(turn: Turn, request: Request) -> Response:
    """Wait for the end. Raises what ended the turn when that was an error."""
    async with cancelled_on_disconnect(turn.stream, request):
        events = [event async for event in turn.stream]
    match events[-1:]:
        case [Finished() as end]:
            return JSONResponse(completion(turn, events, end).model_dump())
        case [Failed() as end]:
            raise end.error
    return Response(status_code=_CLIENT_GONE)


async def answer_streaming(
    turn: Turn, request: Request, *, include_usage: bool, keepalive_seconds: float
) -> Response:
    """Stream chunks. An error that comes before anything was sent gets its own HTTP status."""
    async with cancelled_on_disconnect(turn.stream, request):
        first = await first_events(turn.stream, patience_seconds=keepalive_seconds)
    if first and isinstance(first[-1], Failed):
        raise first[-1].error
    writer = ChunkWriter(turn, include_usage=include_usage)
    chunks = write_chunks(writer, turn.stream, first=first, keepalive_seconds=keepalive_seconds)
    return TurnResponse(turn, chunks)


def completion(turn: Turn, events: Iterable[GenerationEvent], end: Finished) -> ChatCompletion:
    """The answer that the events tell."""
    pieces = [p for event in events if isinstance(event, TokenGenerated | Finished) for p in event.pieces]
    content, reasoning = (
        "".join(piece.text for piece in pieces if piece.channel is channel)
        for channel in (Channel.CONTENT, Channel.REASONING)
    )
    calls = [call_reply(piece.invoke, turn.tools) for piece in pieces if piece.invoke]
    message = AssistantReply(
        content=None if calls and not content else content,
        reasoning_content=reasoning or None,
        tool_calls=calls or None,
    )
    return ChatCompletion(
        id=turn.id,
        created=turn.created,
        model=turn.model,
        system_fingerprint=turn.system_fingerprint,
        choices=[Choice(message=message, finish_reason=end.reason)],
        usage=UsageReply.of(end.usage),
    )
