"""Histograms of where time goes, and traces of it, from stamps that are made up."""

import json
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.metrics.layer_times import STAGES, UPPER_BOUNDS_SECONDS, ExchangeTimes, LayerTimes
from jangtq_coordinator.metrics.timeline import PassSpan, Record, RequestSpan, Timeline, of_requests, since
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


def test_every_stage_of_every_layer_is_counted() -> None:
    times = LayerTimes(3)
    times.record(exchange(5, layer=1))
    times.record(exchange(5, layer=1))
    by_name = {histogram.stage: histogram for histogram in times.histograms()}
    assert tuple(by_name) == STAGES
    sums = {stage: round(histogram.sum_seconds * 1e6) for stage, histogram in by_name.items()}
    assert sums == {
        "attention": 60,
        "encode": 20,
        "wire": 40,
        "queue": 6,
        "compute": 60,
        "decode": 4,
        "reduce": 10,
    }
    assert all(sum(histogram.counts) == 2 for histogram in by_name.values())
    (split,) = times.splits()
    assert (split.layer, split.attention_ms, round(split.dispatch_ms, 6), split.experts_ms) == (
        1,
        0.03,
        0.04,
        0.03,
    )


def test_no_exchange_is_lost_or_counted_twice_however_many_are_read_at_once() -> None:
    times = LayerTimes(1)
    for recorded in range(1, 200):
        times.record(exchange(recorded))
        if recorded % 30 == 0:
            assert sum(times.histograms()[0].counts) == recorded
    assert [sum(histogram.counts) for histogram in times.histograms()] == [199] * len(STAGES)


def test_time_that_other_work_hid_belongs_to_no_stage() -> None:
    stages = dict(zip(STAGES, exchange(0, waits_from=90_000).stages(), strict=True))
    assert stages == {
        "attention": 30_000,
        "encode": 10_000,
        "wire": 0,
        "queue": 0,
        "compute": 3_000,
        "decode": 2_000,
        "reduce": 5_000,
    }


@given(st.lists(st.integers(0, 10**9), min_size=8, max_size=8))
def test_stages_share_out_a_layers_time_whatever_a_worker_tells(parts: list[int]) -> None:
    *durations, decode, queue, compute = parts
    began, started, sent, waited, read, ended = accumulate(durations, initial=0)
    times = (
        exchange(0)
        ._replace(began=began, started=started, sent=sent, waited=waited, read=read, ended=ended)
        ._replace(decode=decode, queue=queue, compute=compute)
    )
    assert min(times.stages()) >= 0
    assert sum(times.stages()) == ended - began - (waited - sent)


@given(st.integers(0, 2**40))
def test_a_duration_is_counted_in_its_bucket(nanoseconds: int) -> None:
    times = LayerTimes(1)
    times.record(exchange(0)._replace(compute=nanoseconds, read=2**42))
    histogram = times.histograms()[STAGES.index("compute")]
    (bucket,) = (i for i, count in enumerate(histogram.counts) if count)
    bounds = (0.0, *histogram.upper_bounds_seconds, float("inf"))
    assert histogram.upper_bounds_seconds == UPPER_BOUNDS_SECONDS
    assert bounds[bucket] < nanoseconds / 1e9 <= bounds[bucket + 1] or (nanoseconds, bucket) == (0, 0)


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


def test_a_timeline_keeps_passes_that_served_somebody() -> None:
    timeline = Timeline()
    timeline.begin_request(3, "id")
    with timeline.forward_pass("decode"):
        pass
    with timeline.forward_pass("prefill") as served:
        served.append(3)
    timeline.end_request(3)
    record = timeline.copy()
    assert [(p.kind, p.requests) for p in record.passes] == [("prefill", (3,))]
    (request,) = record.requests
    assert request.ended is not None
    assert request.began <= record.passes[0].began <= record.passes[0].ended <= request.ended
    assert (request.passes, record.passes_made, record.layers_from) == (1, 1, 0)
