"""A turn as server-sent events, chunk by chunk as OpenAI sends them."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from jangtq_coordinator.api.calls import call_deltas
from jangtq_coordinator.api.errors import problem_of
from jangtq_coordinator.api.replies import UsageReply
from jangtq_coordinator.api.turns import Turn
from jangtq_coordinator.events import (
    Failed,
    Finished,
    GenerationEvent,
    PrefillProgress,
    TokenGenerated,
    Usage,
)
from jangtq_coordinator.reasoning import Channel, Piece
from jangtq_coordinator.streams import GenerationStream

_DELTA_KEY = {Channel.REASONING: "reasoning_content", Channel.CONTENT: "content"}


class ChunkWriter:
    """Events of one turn to bytes of its stream."""

    def __init__(self, turn: Turn, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._tools = turn.tools
        self._indices = itertools.count()
        self._head: dict[str, object] = {
            "id": turn.id,
            "object": "chat.completion.chunk",
            "created": turn.created,
            "model": turn.model,
            "system_fingerprint": turn.system_fingerprint,
        }

    def role(self) -> bytes:
        """The first chunk."""
        return self._chunk({"role": "assistant", "content": ""})

    def write(self, event: GenerationEvent) -> bytes:
        """The bytes of one event, none for a token without text."""
        match event:
            case PrefillProgress():
                return f": prefill {event.done}/{event.total}\n\n".encode()
            case TokenGenerated():
                return b"".join(self._pieces(event.pieces))
            case Finished():
                return b"".join((*self._pieces(event.pieces), *self._end(event)))
            case Failed():
                return _data(problem_of(event.error).body())

    def _pieces(self, pieces: Iterable[Piece]) -> Iterator[bytes]:
        for piece in pieces:
            if piece.invoke is None:
                yield self._chunk({_DELTA_KEY[piece.channel]: piece.text})
                continue
            for delta in call_deltas(piece.invoke, self._tools, index=next(self._indices)):
                yield self._chunk({"tool_calls": [delta]})

    def _end(self, event: Finished) -> Iterator[bytes]:
        yield self._chunk({}, event.reason)
        if self._include_usage:
            yield self._usage(event.usage)
        yield b"data: [DONE]\n\n"

    def _chunk(self, delta: Mapping[str, object], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return _data({**self._head, "choices": [choice], **usage})

    def _usage(self, usage: Usage) -> bytes:
        return _data({**self._head, "choices": [], "usage": UsageReply.of(usage).model_dump()})


class TurnResponse(StreamingResponse):
    """Streams a turn, and cancels it when the client goes away, even before the first chunk."""

    def __init__(self, turn: Turn, chunks: AsyncIterator[bytes]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._stream = turn.stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.cancel()


async def write_chunks(
    writer: ChunkWriter,
    stream: GenerationStream,
    *,
    first: Iterable[GenerationEvent],
    keepalive_seconds: float,
) -> AsyncIterator[bytes]:
    """The whole stream; a comment whenever nothing else was sent for `keepalive_seconds`."""
    now = asyncio.get_running_loop().time
    yield writer.role() + b"".join(map(writer.write, first))
    deadline = now() + keepalive_seconds
    while True:
        try:
            # Not a time for each event: the tokens of a tool call come without data until it is whole.
            async with asyncio.timeout_at(deadline):
                event = await anext(stream)
            data = b"".join(map(writer.write, (event, *stream.pending())))
        except TimeoutError:
            data = b": keep-alive\n\n"
        except StopAsyncIteration:
            return
        if data:
            yield data
            deadline = now() + keepalive_seconds


async def first_events(stream: GenerationStream, *, patience_seconds: float) -> list[GenerationEvent]:
    """Events up to the first that is more than progress; fewer when the patience ends before."""
    events: list[GenerationEvent] = []
    try:
        async with asyncio.timeout(patience_seconds):
            async for event in stream:
                events.append(event)
                if not isinstance(event, PrefillProgress):
                    break
    except TimeoutError:
        pass
    return events


def _data(value: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
