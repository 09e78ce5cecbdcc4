"""Which stream asks alone, so that the thread that reads for all may answer it."""

import pytest

from jangtq_worker.device.activity import ALONE_NS, LATELY_NS, Activity


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [0]
    monkeypatch.setattr("jangtq_worker.device.activity.time.monotonic_ns", lambda: now[0])
    return now


def test_a_stream_is_alone_once_no_other_asked_for_a_while(clock: list[int]) -> None:
    activity = Activity()
    with activity.stream() as first:
        assert activity.is_alone(first)
        with activity.stream() as second:
            second.note(is_long=True)
            clock[0] = ALONE_NS
            assert not activity.is_alone(first) and activity.is_alone(second)
            clock[0] = ALONE_NS + 1
            assert activity.is_alone(first)
            second.note(is_long=True)
            assert not activity.is_alone(first)
        assert activity.is_alone(first), "the other one left"


def test_only_short_calls_of_others_keep_long_ones_short(clock: list[int]) -> None:
    activity = Activity()
    with activity.stream() as first, activity.stream() as second:
        second.note(is_long=True)
        assert not activity.is_kept_by_others(first)
        second.note(is_long=False)
        assert activity.is_kept_by_others(first) and not activity.is_kept_by_others(second)
        clock[0] = LATELY_NS
        assert activity.is_kept_by_others(first)
        clock[0] += 1
        assert not activity.is_kept_by_others(first)
