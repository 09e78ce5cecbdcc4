"""Histograms of where time goes, and traces of it, from stamps that are made up."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.metrics.layer_times import STAGES, UPPER_BOUNDS_SECONDS, ExchangeTimes, LayerTimes


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
