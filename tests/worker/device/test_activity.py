"""Which open streams asked lately, and what they asked for."""

import pytest

from jangtq_worker.device import activity
from jangtq_worker.device.activity import Activity


def test_only_open_streams_that_asked_for_something_short_lately_keep_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = Activity()
    with streams.stream() as one:
        with streams.stream() as other:
            other.note(is_long=True)
            assert not streams.is_kept_by_others(one)
            other.note(is_long=False)
            assert streams.is_kept_by_others(one) and streams.is_kept_by_others(None)
            assert not streams.is_kept_by_others(other)
            monkeypatch.setattr(activity, "LATELY_NS", -(10**12))
            assert not streams.is_kept_by_others(one)
            monkeypatch.undo()
            assert streams.is_kept_by_others(one)
        assert not streams.is_kept_by_others(one)


def test_a_stream_is_alone_where_no_other_asked_for_anything_just_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activity, "ALONE_NS", 10**12)
    streams = Activity()
    with streams.stream() as one, streams.stream() as other:
        one.note(is_long=False)
        assert streams.is_alone(one) and not streams.is_alone(other)
        other.note(is_long=True)
        assert not streams.is_alone(one)
