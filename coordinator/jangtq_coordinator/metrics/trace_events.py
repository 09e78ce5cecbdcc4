"""A record of the engine's past in the Trace Event format's JSON form, which Perfetto shows. Pure.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NotRequired, TypedDict

from jangtq_coordinator.metrics.layer_times import ExchangeTimes
from jangtq_coordinator.metrics.timeline import PassSpan, Record, RequestSpan
from jangtq_coordinator.metrics.trace_coverage import TraceNotes, request_names

ENGINE: Final = 1
REQUESTS: Final = 2
"""The longest time to wait for new events."""
_PASSES: Final = 0


class TraceEvent(TypedDict):
    """A complete event (ph X, stamps and durations in microseconds) or a name (ph M)."""

    name: str
    ph: str
    pid: int
    tid: int
    ts: NotRequired[float]
    dur: NotRequired[float]
    args: NotRequired[Mapping[str, object]]


class Trace(TypedDict):
    """The whole file."""

    traceEvents: list[TraceEvent]
    displayTimeUnit: str
    otherData: TraceNotes


def trace_of(record: Record, notes: TraceNotes) -> Trace:
    """Passes with their layers, and requests with their passes; the notes say what is missing."""
    events = list(_names(record))
    for span in record.passes:
        details = None if record.has_layers(span) else {"layers": "not all known any more"}
        events.append(_span(f"{span.kind} pass", (ENGINE, _PASSES), span.began, span.ended, details))
    for track, exchange in _by_track(record.exchanges):
        events += _layer(exchange, (ENGINE, track))
    for request in record.requests:
        events += _request(request, record.passes)
    return Trace(traceEvents=events, displayTimeUnit="ms", otherData=notes)


def _names(record: Record) -> Iterator[TraceEvent]:
    yield _name("process_name", ENGINE, 0, "engine")
    yield _name("process_name", REQUESTS, 0, "requests")
    yield _name("thread_name", ENGINE, _PASSES, "passes")
    for track in sorted({track for track, _ in _by_track(record.exchanges)}):
        yield _name("thread_name", ENGINE, track, "layers" if track == 1 else f"layers, half {track}")
    for request, name in zip(record.requests, request_names(record.requests), strict=True):
        yield _name("thread_name", REQUESTS, request.number, name if request.id else f"request {name}")


def _by_track(exchanges: Sequence[ExchangeTimes]) -> Iterator[tuple[int, ExchangeTimes]]:
    """Exchanges that overlap get tracks of their own, since spans of one track must nest."""
    free_from: list[int] = []
    for exchange in sorted(exchanges, key=lambda e: e.began):
        free = (i for i, stamp in enumerate(free_from) if stamp <= exchange.began)
        track = next(free, len(free_from))
        free_from[track : track + 1] = [exchange.ended]
        yield track + 1, exchange


def _layer(e: ExchangeTimes, track: tuple[int, int]) -> list[TraceEvent]:
    """The layer, its stages on the coordinator, and within the exchange what the slowest worker did."""
    wire = max(e.read - e.sent - e.decode - e.queue - e.compute, 0)
    arrived = max(e.read - e.decode, e.sent)
    queued = min(e.sent + wire // 2, arrived)
    computing = min(queued + e.queue, arrived)
    details = {
        "rows": e.rows,
        "slowest worker": e.slowest_worker,
        "wire us": wire / 1000,
        "waited us": (e.read - e.waited) / 1000,
    }
    return [
        _span(f"layer {e.layer}", track, e.began, e.ended),
        _span("attention", track, e.began, e.started),
        _span("encode", track, e.started, e.sent),
        _span("exchange", track, e.sent, e.read, details),
        _span("queue", track, queued, computing),
        _span("compute", track, computing, min(computing + e.compute, arrived)),
        _span("decode", track, arrived, e.read),
        _span("reduce", track, e.read, e.ended),
    ]


def _request(request: RequestSpan, passes: Sequence[PassSpan]) -> list[TraceEvent]:
    """A request that still runs ends, so far, with its last pass."""
    served = [p for p in passes if request.number in p.requests]
    ended = request.ended or max((p.ended for p in served), default=request.began)
    track = (REQUESTS, request.number)
    return [
        _span("request", track, request.began, ended, {"id": request.id}),
        *(_span(f"{p.kind} pass", track, p.began, p.ended, {"requests": len(p.requests)}) for p in served),
    ]


def _span(
    name: str, track: tuple[int, int], began: int, ended: int, args: Mapping[str, object] | None = None
) -> TraceEvent:
    start, end = _exact_us(began), _exact_us(ended)
    event = TraceEvent(name=name, ph="X", pid=track[0], tid=track[1], ts=start, dur=end - start)
    if args:
        event["args"] = args
    return event


def _exact_us(nanoseconds: int) -> float:
    """Whole eighths, with which floating point makes no error that could let neighbours overlap."""
    return nanoseconds // 125 / 8


def _name(kind: str, pid: int, tid: int, name: str) -> TraceEvent:
    return TraceEvent(name=kind, ph="M", pid=pid, tid=tid, args={"name": name})
