"""Traces of what was long ago: they say what is missing, and have every stream of a request."""

import asyncio
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from jangtq_coordinator.api.admin import trace_endpoint as trace_route
from jangtq_coordinator.cli import trace as trace_command
from jangtq_coordinator.cli.command_settings import TraceSettings
from jangtq_coordinator.metrics import timeline as timeline_module
from jangtq_coordinator.metrics.timeline import MOST_EXCHANGES, MOST_PASSES, MOST_REQUESTS, Record, Timeline
from jangtq_coordinator.metrics.trace_coverage import TraceNotes
from jangtq_coordinator.metrics.trace_events import ENGINE, REQUESTS, Trace, trace_of
from tests.coordinator.metrics.test_layer_times import exchange
from tests.support.trace_checks import check_trace, durations, layers_of

LAYERS = 6
KEPT = 200
WHOLE = KEPT // LAYERS
"""Passes whose layers are all kept, where so many layers are."""


class Past:
    """A timeline on a clock that moves by 100 us a layer and 1 us before and after each pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = 1_000_000
        monkeypatch.setattr(timeline_module, "MOST_EXCHANGES", KEPT)
        clock = SimpleNamespace(perf_counter_ns=lambda: self._now)
        monkeypatch.setattr(timeline_module, "time", clock)
        monkeypatch.setattr(trace_route, "time", clock)
        self.timeline = Timeline()

    def make_passes(self, count: int, *requests: int, layers: int = LAYERS) -> None:
        for _ in range(count):
            self._now += 1000
            with self.timeline.forward_pass("decode") as served:
                served += requests
                for layer in range(layers):
                    self.timeline.record_exchange(exchange(self._now, layer=layer))
                    self._now += 100_000
            self._now += 1000

    def begin(self, number: int, request_id: str) -> None:
        self._now += 1000
        self.timeline.begin_request(number, request_id)

    def end(self, number: int) -> None:
        self._now += 1000
        self.timeline.end_request(number)

    async def ask(self, **query: str | float) -> Trace:
        """GET /trace."""
        app = FastAPI()
        app.include_router(trace_route.trace_router(self.timeline))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answer = await client.get("/trace", params=query)
        trace: Trace = answer.json()
        check_trace(trace)
        return trace

    def trace(self, request: str) -> Trace:
        return asyncio.run(self.ask(request=request))


@pytest.fixture
def past(monkeypatch: pytest.MonkeyPatch) -> Past:
    return Past(monkeypatch)


def coverage_of(trace: Trace) -> list[tuple[str, int, int, int]]:
    notes = trace["otherData"]
    return [(one["what"], one["passes"], one["known"], one["with_layers"]) for one in notes["coverage"]]


@pytest.mark.parametrize("count", [1, WHOLE, WHOLE + 1, WHOLE + 7])
def test_a_trace_says_of_how_many_passes_the_layers_are_known(past: Past, count: int) -> None:
    past.begin(1, "long")
    past.make_passes(count, 1)
    trace = past.trace("long")
    whole = min(count, WHOLE)
    assert coverage_of(trace) == [("request long", count, count, whole)]
    assert whole * LAYERS <= len(layers_of(trace)) == min(count * LAYERS, KEPT)
    cut = [
        event
        for event in trace["traceEvents"]
        if event["pid"] == ENGINE and "layers" in event.get("args", ())
    ]
    assert len(cut) == count - whole


def test_a_request_is_measured_by_its_own_passes(past: Past) -> None:
    past.begin(1, "old")
    past.make_passes(40, 1)
    past.begin(2, "new")
    past.make_passes(WHOLE - 10, 2)
    assert coverage_of(past.trace("old")) == [("request old", 40, 40, 10)]
    assert coverage_of(past.trace("new")) == [("request new", WHOLE - 10, WHOLE - 10, WHOLE - 10)]


def test_passes_that_are_forgotten_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_module, "MOST_PASSES", 20)
    past = Past(monkeypatch)
    past.begin(1, "longest")
    past.make_passes(25, 1)
    assert coverage_of(past.trace("longest")) == [("request longest", 25, 20, 20)]


def test_a_window_says_what_it_lost(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes, their layers, and requests that it cannot name."""
    past.begin(1, "first")
    past.make_passes(5, 1)
    for number in range(2, MOST_REQUESTS + 2):
        past.begin(number, "other")

    async def work(seconds: float) -> None:
        past.make_passes(WHOLE + 3, 1, 2)

    monkeypatch.setattr(trace_route, "sleep", work)
    trace = asyncio.run(past.ask(seconds=7))
    assert coverage_of(trace) == [("7 seconds", WHOLE + 3, WHOLE + 3, WHOLE)]
    assert trace["otherData"]["forgotten_requests"] == 1

    async def rest(seconds: float) -> None:
        past.make_passes(3, 2)

    monkeypatch.setattr(trace_route, "sleep", rest)
    trace = asyncio.run(past.ask(seconds=1))
    assert coverage_of(trace) == [("1 seconds", 3, 3, 3)]
    assert trace["otherData"]["forgotten_requests"] == 0


def test_a_trace_has_every_stream_of_the_newest_request_of_an_id(past: Past) -> None:
    past.begin(1, "mine")
    past.make_passes(2, 1)
    past.end(1)
    past.begin(2, "mine")
    past.begin(3, "another")
    past.begin(4, "mine")
    past.make_passes(3, 2, 3)
    past.end(2)
    past.make_passes(2, 3, 4)
    trace = past.trace("mine")
    assert coverage_of(trace) == [("request mine (1 of 2)", 3, 3, 3), ("request mine (2 of 2)", 2, 2, 2)]
    assert len(durations(trace, ENGINE, "decode pass")) == len(durations(trace, REQUESTS, "decode pass")) == 5
    names = [e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M" and e["tid"] in (2, 4)]
    assert names == ["mine (1 of 2)", "mine (2 of 2)"]
    past.end(4)
    assert coverage_of(past.trace("another")) == [("request another", 5, 5, 5)]


def test_traces_are_made_beside_the_event_loop(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    past.begin(1, "mine")
    past.make_passes(1, 1)
    threads: list[threading.Thread] = []

    async def rest(seconds: float) -> None:
        past.make_passes(1, 1)

    def traced(record: Record, notes: TraceNotes) -> Trace:
        threads.append(threading.current_thread())
        return trace_of(record, notes)

    monkeypatch.setattr(trace_route, "sleep", rest)
    monkeypatch.setattr(trace_route, "trace_of", traced)
    past.trace("mine")
    asyncio.run(past.ask(seconds=1))
    assert len(threads) == 2 and threading.main_thread() not in threads


def test_streams_without_an_id_are_requests_of_their_own(past: Past) -> None:
    past.begin(1, "")
    past.begin(2, "")
    past.make_passes(1, 1, 2)
    assert coverage_of(asyncio.run(past.ask())) == [("request 2", 1, 1, 1)]


def test_the_command_warns_of_what_is_missing(
    past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past.begin(1, "long")
    past.make_passes(WHOLE, 1)
    question = TraceSettings("http://test", tmp_path / "trace.json", "long")
    monkeypatch.setattr(trace_command, "get", lambda *_, **__: json.dumps(past.trace("long")).encode())
    trace_command.save_trace(question)
    assert capsys.readouterr().err == ""
    past.make_passes(172, 1)
    trace_command.save_trace(question)
    told = capsys.readouterr()
    assert told.err == (
        f"jangtq-coord: warning: request long: of {WHOLE + 172} passes, {WHOLE} have all their layers and "
        f"172 have not, 0 of which are missing as a whole: a coordinator keeps the newest {MOST_EXCHANGES} "
        f"layers and {MOST_PASSES} passes\n"
    )
    assert "events; open it at" in told.out
