"""Whoever waits too long, or long enough, is told once."""

import threading
import time

from jangtq_coordinator.transport.stall_watch import StallWatch


def never() -> bool:
    return False


def test_a_wait_that_outlasts_the_timeout_is_given_up_once() -> None:
    silent = threading.Semaphore(0)
    watch = StallWatch(0.05, silent.release)
    watch.wait = (time.monotonic(), never)
    assert silent.acquire(timeout=30)
    assert watch.waited_seconds == 0.05
    assert not silent.acquire(timeout=0.1)


def test_a_wait_is_given_up_when_the_one_who_waits_says_so() -> None:
    silent = threading.Event()
    watch = StallWatch(60, silent.set)
    watch.wait = (time.monotonic(), lambda: True)
    assert silent.wait(30)
    assert watch.waited_seconds is not None and watch.waited_seconds < 60


def test_nobody_is_told_where_nobody_waits() -> None:
    silent = threading.Event()
    watch = StallWatch(0.02, silent.set)
    assert not silent.wait(0.1)
    watch.stop()
    assert watch.waited_seconds is None
