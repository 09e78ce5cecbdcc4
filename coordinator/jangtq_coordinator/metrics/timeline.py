"""The recent past of the engine thread: passes, their layers, and the requests that they served. Bounded."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal

from jangtq_coordinator.metrics.layer_times import ExchangeTimes

MOST_EXCHANGES: Final = 1 << 15
MOST_PASSES: Final = 1 << 13
MOST_REQUESTS: Final = 1 << 10

PassKind = Literal["prefill", "decode"]


@dataclass(frozen=True)
class PassSpan:
    """One forward pass with all that surrounds it, and the numbers of the requests that it served."""

    kind: PassKind
    began: int
    ended: int
    requests: tuple[int, ...]


@dataclass
class RequestSpan:
    """A request from its submission to its end; `ended` is None while it runs. `id` is what clients know.

    passes: how many served it, known or not any more.
    """

    number: int
    id: str
    began: int
    ended: int | None = None
    passes: int = 0


@dataclass(frozen=True)
class Record:
    """A copy of what is known, oldest first; all stamps are of time.perf_counter_ns.

    layers_from: passes that began before this stamp lack layers; passes_made: since the start, known or not.
    """

    requests: tuple[RequestSpan, ...]
    passes: tuple[PassSpan, ...]
    exchanges: tuple[ExchangeTimes, ...]
    layers_from: int = 0
    passes_made: int = 0

    def has_layers(self, span: PassSpan) -> bool:
        """Whether all layers of a pass are known."""
        return span.began >= self.layers_from


class Timeline:
    """Written by the engine thread, read by any: a deque's append and its copy are each one step.

    before_copy: has `record_exchange` called for exchanges that ended and were not recorded yet.
    """

    def __init__(self, before_copy: Callable[[], object] = lambda: None) -> None:
        self._before_copy = before_copy
        self._exchanges: deque[ExchangeTimes] = deque(maxlen=MOST_EXCHANGES)
        self._passes: deque[PassSpan] = deque(maxlen=MOST_PASSES)
        self._requests: deque[RequestSpan] = deque(maxlen=MOST_REQUESTS)
        self._running: dict[int, RequestSpan] = {}
        self.passes_made = 0
        self.record_exchange = self._exchanges.append

    def begin_request(self, number: int, request_id: str) -> None:
        """Add a request; `number` is the engine's own."""
        span = self._running[number] = RequestSpan(number, request_id, time.perf_counter_ns())
        self._requests.append(span)

    def end_request(self, number: int) -> None:
        """Mark the end of a request."""
        span = self._running.pop(number, None)
        if span is not None:
            span.ended = time.perf_counter_ns()

    @contextmanager
    def forward_pass(self, kind: PassKind) -> Iterator[list[int]]:
        """`with timeline.forward_pass(...) as requests:` around a pass; fill in the requests served."""
        requests: list[int] = []
        began = time.perf_counter_ns()
        yield requests
        if requests:
            self._passes.append(PassSpan(kind, began, time.perf_counter_ns(), tuple(requests)))
            self.passes_made += 1
            for span in filter(None, map(self._running.get, requests)):
                span.passes += 1

    def copy(self) -> Record:
        """A copy of everything kept; counts come first, so that they never exceed what they count."""
        passes_made = self.passes_made
        requests = tuple(replace(request) for request in self._requests.copy())
        passes = tuple(self._passes.copy())
        # After the passes, all of whose layers are then there.
        self._before_copy()
        exchanges = tuple(self._exchanges.copy())
        # The pass of the oldest layer that is kept may lack some; all after it are whole.
        layers_from = exchanges[0].ended if len(exchanges) == self._exchanges.maxlen else 0
        return Record(requests, passes, exchanges, layers_from, passes_made)


def of_requests(record: Record, requests: tuple[RequestSpan, ...]) -> Record:
    """The passes that served these requests, with their layers."""
    numbers = {request.number for request in requests}
    passes = tuple(p for p in record.passes if not numbers.isdisjoint(p.requests))
    exchanges = exchanges_in(passes, record.exchanges)
    return replace(record, requests=requests, passes=passes, exchanges=exchanges)


def since(record: Record, began: int) -> Record:
    """All that ended after a stamp."""
    return replace(
        record,
        requests=tuple(r for r in record.requests if r.ended is None or r.ended >= began),
        passes=tuple(p for p in record.passes if p.ended >= began),
        exchanges=tuple(e for e in record.exchanges if e.ended >= began),
    )


def exchanges_in(passes: Sequence[PassSpan], exchanges: Sequence[ExchangeTimes]) -> tuple[ExchangeTimes, ...]:
    """The layers of these passes. One thread makes all passes, so that they never overlap."""
    found: list[ExchangeTimes] = []
    left = iter(passes)
    current = next(left, None)
    for exchange in exchanges:
        while current is not None and current.ended < exchange.ended:
            current = next(left, None)
        if current is not None and current.began <= exchange.began:
            found.append(exchange)
    return tuple(found)
