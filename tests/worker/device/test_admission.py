"""Which stream asks alone, so that the thread that reads for all may answer it."""

import pytest

from jangtq_worker.device.admission import ALONE_NS, AskingStreams


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [0]
    monkeypatch.setattr("jangtq_worker.device.admission.time.monotonic_ns", lambda: now[0])
    return now


def test_who_asked_last_is_alone_once_nobody_else_did_for_a_while(clock: list[int]) -> None:
    askers = AskingStreams()
    assert not askers.is_alone("first")
    clock[0] = ALONE_NS - 1
    assert not askers.is_alone("first")
    clock[0] = ALONE_NS
    assert askers.is_alone("first")
    clock[0] = 1000 * ALONE_NS
    assert askers.is_alone("first")


def test_neither_of_two_that_ask_in_turn_is_alone(clock: list[int]) -> None:
    askers = AskingStreams()
    for turn in range(10):
        clock[0] += ALONE_NS
        assert not askers.is_alone(turn % 2)
    clock[0] += ALONE_NS
    assert askers.is_alone(1)
