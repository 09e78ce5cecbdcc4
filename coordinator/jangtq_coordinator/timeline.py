"""The recent past of the engine thread: passes, their layers, and the requests they worked for. Bounded."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from jangtq_coordinator.timing import ExchangeTimes, nothing_to_catch_up

_EXCHANGES: Final = 1 << 15
_PASSES: Final = 1 << 13
_REQUESTS: Final = 1 << 10

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
    """A request from its submission to its end; `ended` is None while it runs. `id` is what clients know."""

    number: int
    id: str
    began: int
    ended: int | None = None


@dataclass(frozen=True)
class Record:
    """A copy of what is known, oldest first; all stamps are of time.perf_counter_ns."""

    requests: tuple[RequestSpan, ...]
    passes: tuple[PassSpan, ...]
    exchanges: tuple[ExchangeTimes, ...]


class Timeline:
    """Written by the engine thread, read by any: a deque's append and its copy are each one step."""

    def __init__(self) -> None:
        self._exchanges: deque[ExchangeTimes] = deque(maxlen=_EXCHANGES)
        self._passes: deque[PassSpan] = deque(maxlen=_PASSES)
        self._requests: deque[RequestSpan] = deque(maxlen=_REQUESTS)
        self.record_exchange = self._exchanges.append
        self.catch_up: Callable[[], None] = nothing_to_catch_up

    def begin_request(self, number: int, request_id: str) -> None:
        """A request was taken; `number` is the engine's own."""
        self._requests.append(RequestSpan(number, request_id, time.perf_counter_ns()))

    def end_request(self, number: int) -> None:
        """However it ended."""
        for span in reversed(self._requests):
            if span.number == number:
                span.ended = time.perf_counter_ns()
                return

    @contextmanager
    def forward_pass(self, kind: PassKind) -> Iterator[list[int]]:
        """`with timeline.forward_pass(...) as requests:` around a pass; fill in whom it served."""
        requests: list[int] = []
        began = time.perf_counter_ns()
        yield requests
        if requests:
            self._passes.append(PassSpan(kind, began, time.perf_counter_ns(), tuple(requests)))

    def copy(self) -> Record:
        """Everything that is still known."""
        self.catch_up()
        return Record(tuple(self._requests.copy()), tuple(self._passes.copy()), tuple(self._exchanges.copy()))


def of_request(record: Record, request: RequestSpan) -> Record:
    """The passes that served one request, with their layers."""
    passes = tuple(p for p in record.passes if request.number in p.requests)
    return Record((request,), passes, exchanges_in(passes, record.exchanges))


def since(record: Record, began: int) -> Record:
    """What ended after a stamp."""
    return Record(
        tuple(r for r in record.requests if r.ended is None or r.ended >= began),
        tuple(p for p in record.passes if p.ended >= began),
        tuple(e for e in record.exchanges if e.ended >= began),
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
