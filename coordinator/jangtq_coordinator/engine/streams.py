"""Carries events from the engine's thread to the event loops of their readers."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from jangtq_coordinator import logs
from jangtq_coordinator.engine.events import Failed, Finished, GenerationEvent
from jangtq_coordinator.engine.stream_observer import new_observer


class GenerationStream:
    """The events of one request: an async iterator for the event loop in which it was made.

    It ends after Finished or Failed, or at once when it is cancelled.
    """

    def __init__(self, cancel: Callable[["GenerationStream"], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.request_id = logs.request_id.get()
        self._observer = new_observer.get()()
        self._cancel = cancel
        self._events: deque[GenerationEvent] = deque()
        self._arrived = asyncio.Event()
        self._ended = False

    def __aiter__(self) -> "GenerationStream":
        return self

    async def __anext__(self) -> GenerationEvent:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()

    @property
    def ended(self) -> bool:
        """Whether no more events will arrive; some may still be unread."""
        return self._ended

    def share(self, arrived: asyncio.Event) -> None:
        """Set `arrived` for each new event; to be called before the first is awaited."""
        self._arrived = arrived

    def pending(self) -> list[GenerationEvent]:
        """Remove and return the events that have arrived."""
        events = list(self._events)
        self._events.clear()
        return events

    def push(self, event: GenerationEvent) -> None:
        """Called in the stream's loop."""
        if self._ended:
            return
        self._events.append(event)
        self._ended = isinstance(event, Finished | Failed)
        self._observer.saw(event)
        self._arrived.set()

    def cancel(self) -> None:
        """Called in the stream's loop: the current pass is the request's last. May be repeated."""
        if not self._ended:
            self._ended = True
            self._events.clear()
            self._arrived.set()
            self._observer.cancelled()
            self._cancel(self)


class StreamGroup:
    """Several streams as one: each event comes with its stream's number."""

    def __init__(self, streams: Sequence[GenerationStream]) -> None:
        self._streams = tuple(streams)
        self._arrived = asyncio.Event()
        self._events: deque[tuple[int, GenerationEvent]] = deque()
        for stream in streams:
            stream.share(self._arrived)

    def __len__(self) -> int:
        return len(self._streams)

    def __aiter__(self) -> "StreamGroup":
        return self

    async def __anext__(self) -> tuple[int, GenerationEvent]:
        while not self._events:
            self._arrived.clear()
            self._events.extend(self.pending())
            if not self._events:
                if all(stream.ended for stream in self._streams):
                    raise StopAsyncIteration
                await self._arrived.wait()
        return self._events.popleft()

    def pending(self) -> list[tuple[int, GenerationEvent]]:
        """Remove and return the events that have arrived."""
        events = [*self._events]
        self._events.clear()
        return events + [(at, e) for at, stream in enumerate(self._streams) for e in stream.pending()]

    def cancel(self) -> None:
        """Cancel them all. May be repeated."""
        self._events.clear()
        for stream in self._streams:
            stream.cancel()


class Outbox:
    """Collects the events of a pass and hands each event loop its part in one call."""

    def __init__(self) -> None:
        self._events: dict[asyncio.AbstractEventLoop, list[tuple[GenerationStream, GenerationEvent]]] = {}

    def put(self, stream: GenerationStream, event: GenerationEvent) -> None:
        self._events.setdefault(stream.loop, []).append((stream, event))

    def flush(self) -> list[GenerationStream]:
        """Send all events; returns the streams whose event loop is closed."""
        batches, self._events = self._events, {}
        lost: list[GenerationStream] = []
        for loop, batch in batches.items():
            try:
                loop.call_soon_threadsafe(_deliver, batch)
            except RuntimeError:
                lost += [stream for stream, _ in batch]
        return lost


def _deliver(batch: Sequence[tuple[GenerationStream, GenerationEvent]]) -> None:
    for stream, event in batch:
        stream.push(event)
