"""How much of the requested past is still known, stated in the trace itself. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, TypedDict

from jangtq_coordinator.metrics.timeline import (
    MOST_EXCHANGES,
    MOST_PASSES,
    MOST_REQUESTS,
    PassSpan,
    Record,
    RequestSpan,
)


class RecordedSpan(TypedDict):
    """How much of each kind a coordinator keeps, the newest."""

    layers: int
    passes: int
    requests: int


class Coverage(TypedDict):
    """`what` had so many passes; so many are in the trace, and so many with all their layers."""

    what: str
    passes: int
    known: int
    with_layers: int


class TraceNotes(TypedDict):
    """forgotten_requests: how many there were that passes in the trace served and that it does not name."""

    kept: RecordedSpan
    coverage: list[Coverage]
    forgotten_requests: int


KEPT: Final = RecordedSpan(layers=MOST_EXCHANGES, passes=MOST_PASSES, requests=MOST_REQUESTS)


def notes_of_requests(record: Record) -> TraceNotes:
    """Of a trace of the record's requests, whose passes are all that it has."""
    named = zip(record.requests, request_names(record.requests), strict=True)
    coverage = [
        _coverage(
            f"request {name}",
            [p for p in record.passes if request.number in p.requests],
            record,
            request.passes,
        )
        for request, name in named
    ]
    return TraceNotes(kept=KEPT, coverage=coverage, forgotten_requests=0)


def notes_of_window(record: Record, *, seconds: float, passes: int) -> TraceNotes:
    """Of a trace of some seconds in which so many passes were made."""
    served = {number for span in record.passes for number in span.requests}
    return TraceNotes(
        kept=KEPT,
        coverage=[_coverage(f"{seconds:g} seconds", record.passes, record, passes)],
        forgotten_requests=len(served - {request.number for request in record.requests}),
    )


def request_names(requests: tuple[RequestSpan, ...]) -> list[str]:
    """Each by its id, and streams of one id by their place among these."""
    ids = [request.id or str(request.number) for request in requests]
    totals, before = Counter(ids), Counter[str]()
    names = []
    for name in ids:
        before[name] += 1
        names.append(f"{name} ({before[name]} of {totals[name]})" if totals[name] > 1 else name)
    return names


def _coverage(what: str, spans: Sequence[PassSpan], record: Record, made: int) -> Coverage:
    """A pass may end between the count and the copy of what is counted."""
    return Coverage(
        what=what,
        passes=max(made, len(spans)),
        known=len(spans),
        with_layers=sum(map(record.has_layers, spans)),
    )
