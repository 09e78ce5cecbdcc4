"""Answers a turn in any API's form, as one body or as server-sent events. Knows no API's form itself."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from jangtq_coordinator.api.http.disconnect import cancelled_on_disconnect
from jangtq_coordinator.api.http.error_responses import Problem, problem_of
from jangtq_coordinator.api.http.json_reply import JsonReply, encode
from jangtq_coordinator.engine.events import (
    Failed,
    Finished,
    GenerationEvent,
    PrefillProgress,
    TokenGenerated,
)
from jangtq_coordinator.engine.streams import StreamGroup

Frame = Mapping[str, object]
Numbered = tuple[int, GenerationEvent]

# Nobody receives it: the client closed the connection. nginx's number, since HTTP has none.
_CLIENT_GONE: Final = 499


class AnswerWriter(Protocol):
    """One API's form of one turn. A whole answer is written like a stream whose frames are dropped."""

    named: bool
    """Whether each frame is sent as an event of its type's name."""
    closing: bytes
    """What ends a stream."""

    def begin(self) -> Sequence[Frame]:
        """The first frames."""
        ...

    def prefilled(self, progress: PrefillProgress) -> Sequence[Frame]:
        """The frames that wait until it is known how much of the prompt was cached; there may be none."""
        ...

    def write(self, choice: int, event: TokenGenerated | Finished) -> Sequence[Frame]:
        """The frames of one event; there may be none."""
        ...

    def end(self) -> Sequence[Frame]:
        """The last frames, once every choice has finished."""
        ...

    def fail(self, problem: Problem) -> Frame:
        """The last frame of a stream that an error ends."""
        ...

    def whole(self) -> Frame:
        """The answer as one body; after `end`."""
        ...


class Answering:
    """How turns are answered: `keepalive_seconds` without a byte make a stream send a comment."""

    def __init__(self, *, keepalive_seconds: float) -> None:
        self._keepalive_seconds = keepalive_seconds

    async def answer(
        self, stream: StreamGroup, writer: AnswerWriter, request: Request, *, streaming: bool
    ) -> Response:
        """Raises what ends the turn, as long as nothing was sent: such an error gets its own status."""
        if not streaming:
            return await self._whole(stream, writer, request)
        async with cancelled_on_disconnect(stream, request):
            first = await _first_events(stream, timeout_seconds=self._keepalive_seconds)
        if first and isinstance(failed := first[-1][1], Failed):
            stream.cancel()
            raise failed.error
        return _TurnResponse(stream, self._chunks(stream, _Wire(writer, len(stream)), first))

    async def _whole(self, stream: StreamGroup, writer: AnswerWriter, request: Request) -> Response:
        wire = _Wire(writer, len(stream))
        writer.begin()
        async with cancelled_on_disconnect(stream, request):
            async for choice, event in stream:
                if isinstance(event, Failed):
                    raise event.error
                wire.frames(choice, event)
        return JsonReply(writer.whole()) if wire.complete else Response(status_code=_CLIENT_GONE)

    async def _chunks(
        self, stream: StreamGroup, wire: "_Wire", first: Iterable[Numbered]
    ) -> AsyncIterator[bytes]:
        """The whole stream; a comment whenever nothing else was sent for a while."""
        now = asyncio.get_running_loop().time
        yield wire.begin() + wire.write(first)
        deadline = now() + self._keepalive_seconds
        while not wire.over:
            try:
                # Not a time for each event: the tokens of a tool call come without data until it is whole.
                async with asyncio.timeout_at(deadline):
                    event = await anext(stream)
                data = wire.write((event, *stream.pending()))
            except TimeoutError:
                data = b": keep-alive\n\n"
            except StopAsyncIteration:
                return
            if data:
                yield data
                deadline = now() + self._keepalive_seconds


class _Wire:
    """Events to bytes, until all choices have finished or one has failed."""

    def __init__(self, writer: AnswerWriter, choices: int) -> None:
        self._writer = writer
        self._running = choices
        self.over = False

    @property
    def complete(self) -> bool:
        return self._running == 0

    def begin(self) -> bytes:
        return b"".join(map(self._encode, self._writer.begin()))

    def write(self, events: Iterable[Numbered]) -> bytes:
        return b"".join(self._write(choice, event) for choice, event in events if not self.over)

    def frames(self, choice: int, event: GenerationEvent) -> Sequence[Frame]:
        """What a choice's token or end brings, and with the last of them the end of all."""
        if isinstance(event, PrefillProgress):
            return self._writer.prefilled(event)
        if not isinstance(event, TokenGenerated | Finished):
            return ()
        frames = self._writer.write(choice, event)
        self._running -= isinstance(event, Finished)
        return [*frames, *self._writer.end()] if self.complete else frames

    def _write(self, choice: int, event: GenerationEvent) -> bytes:
        match event:
            case PrefillProgress():
                comment = f": prefill {event.done}/{event.total}\n\n".encode()
                return comment + b"".join(map(self._encode, self.frames(choice, event)))
            case Failed():
                self.over = True
                return self._encode(self._writer.fail(problem_of(event.error)))
        data = b"".join(map(self._encode, self.frames(choice, event)))
        self.over = self.complete
        return data + self._writer.closing if self.over else data

    def _encode(self, frame: Frame) -> bytes:
        name = f"event: {frame['type']}\n".encode() if self._writer.named else b""
        return name + b"data: " + encode(frame) + b"\n\n"


class _TurnResponse(StreamingResponse):
    """Streams a turn, and cancels it when the client goes away, even before the first chunk."""

    def __init__(self, stream: StreamGroup, chunks: AsyncIterator[bytes]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.cancel()


async def _first_events(stream: StreamGroup, *, timeout_seconds: float) -> list[Numbered]:
    """Events up to the first that is more than progress; fewer if the time-out comes first."""
    events: list[Numbered] = []
    try:
        async with asyncio.timeout(timeout_seconds):
            async for event in stream:
                events.append(event)
                if not isinstance(event[1], PrefillProgress):
                    break
    except TimeoutError:
        pass
    return events
