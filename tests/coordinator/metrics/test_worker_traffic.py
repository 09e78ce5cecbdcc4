"""What each worker was asked and how long it took, counted and of its newest calls."""

import pytest

from jangtq_coordinator.metrics.layer_times import UPPER_BOUNDS_SECONDS, bucket_of
from jangtq_coordinator.metrics.worker_traffic import ClusterTraffic

MS = 1_000_000


def test_calls_picks_and_waits_are_counted_by_worker() -> None:
    traffic = ClusterTraffic()
    traffic.record("a", 3, wait_ns=3 * MS, worker_ns=MS)
    traffic.record("a", 2, wait_ns=5 * MS, worker_ns=MS)
    traffic.record("b", 3, wait_ns=1, worker_ns=0)
    a, b = traffic.all()["a"], traffic.all()["b"]
    assert (a.calls, a.picks, a.wait_ns) == (2, 5, 8 * MS)
    assert (b.calls, b.picks, sum(b.wait_counts)) == (1, 3, 1)
    assert a.wait_counts[bucket_of(3 * MS)] == 1


def test_recent_times_are_quantiles_of_the_newest_calls() -> None:
    traffic = ClusterTraffic()
    assert traffic.of("a").recent() is None
    for _ in range(5000):
        traffic.record("a", 1, wait_ns=1000 * MS, worker_ns=0)
    for wait_ms in range(1, 2049):
        traffic.record("a", 1, wait_ns=wait_ms * MS, worker_ns=MS)
    recent = traffic.of("a").recent()
    assert recent is not None
    assert recent.wait_p50 == pytest.approx(1.0245)
    assert recent.wait_p99 == pytest.approx(2.0275, abs=1e-3)
    assert recent.trip_p50 == pytest.approx(1.0235)


def test_buckets_hold_what_their_bound_says() -> None:
    for index, bound in enumerate(UPPER_BOUNDS_SECONDS):
        nanoseconds = round(bound * 1e9)
        assert (bucket_of(nanoseconds), bucket_of(nanoseconds + 1)) == (index, index + 1)
    assert bucket_of(0) == 0
