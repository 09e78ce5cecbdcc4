"""Traces for Perfetto, from stamps that are made up."""

import json

from jangtq_coordinator.metrics.layer_times import ExchangeTimes
from jangtq_coordinator.metrics.timeline import PassSpan, Record, RequestSpan, of_requests, since
from jangtq_coordinator.metrics.trace_coverage import notes_of_requests
from jangtq_coordinator.metrics.trace_events import ENGINE, REQUESTS, Trace, trace_of
from tests.support.trace_checks import check_trace, durations


def exchange(began: int, *, layer: int = 0, waits_from: int = 40_000) -> ExchangeTimes:
    """Takes 100 us; the wire takes what is left of the waiting, of which 35 us are explained."""
    return ExchangeTimes(
        layer=layer,
        rows=1,
        began=began,
        started=began + 30_000,
        sent=began + 40_000,
        waited=began + waits_from,
        read=began + 95_000,
        ended=began + 100_000,
        decode=2_000,
        queue=3_000,
        compute=30_000,
        slowest_worker="two",
    )


def some_record(*, apart: int = 100_000) -> Record:
    """Two requests; the second joins in the second pass. `apart` 100 us lets layers follow each other."""
    exchanges = tuple(exchange(1000 + i * apart, layer=i % 2) for i in range(4))
    half = 1000 + 2 * apart
    passes = (PassSpan("prefill", 500, half, (7,)), PassSpan("decode", half, 900_000, (7, 8)))
    return Record((RequestSpan(7, "a", 100, 950_000), RequestSpan(8, "", half - 80)), passes, exchanges)


def some_trace(*, apart: int = 100_000) -> Trace:
    record = some_record(apart=apart)
    return trace_of(record, notes_of_requests(record))


def test_a_trace_nests_and_its_stages_add_up() -> None:
    trace = some_trace()
    check_trace(json.loads(json.dumps(trace)))
    layers = durations(trace, ENGINE, "layer")
    assert layers == [100.0] * 4
    parts = ("attention", "encode", "exchange", "reduce")
    assert sum(sum(durations(trace, ENGINE, part)) for part in parts) == sum(layers)
    exchanges = [event for event in trace["traceEvents"] if event["name"] == "exchange"]
    assert exchanges[0]["args"] == {
        "rows": 1,
        "slowest worker": "two",
        "wire us": 20.0,
        "waited us": 55.0,
    }
    assert durations(trace, REQUESTS, "decode pass") == durations(trace, ENGINE, "decode pass") * 2


def test_layers_under_way_together_stand_on_tracks_of_their_own() -> None:
    trace = some_trace(apart=60_000)
    check_trace(trace)
    assert {e["tid"] for e in trace["traceEvents"] if e["name"].startswith("layer")} == {1, 2}


def test_a_request_brings_its_passes_alone() -> None:
    record = some_record()
    second = of_requests(record, record.requests[1:])
    assert [p.kind for p in second.passes] == ["decode"]
    assert [e.began for e in second.exchanges] == [201_000, 301_000]
    assert of_requests(record, record.requests[:1]).exchanges == record.exchanges
    assert since(record, 910_000) == Record(record.requests, (), ())
