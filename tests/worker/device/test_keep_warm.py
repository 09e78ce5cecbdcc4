"""A device is touched while a coordinator is connected and has asked lately, and rests otherwise."""

import threading

from jangtq_kernels.metal.memory import touch_device
from jangtq_worker.device.keep_warm import KeepWarm


class Worker:
    """What keep-warm looks at, and how often it touched the device."""

    def __init__(self) -> None:
        self.streams = 0
        self.calls = 0
        self.touched = 0
        self.warm = KeepWarm(
            self.touch,
            streams=lambda: self.streams,
            calls=lambda: self.calls,
            period_seconds=0.001,
            rest_after_seconds=100,
        )
        self.is_touched = threading.Event()

    def touch(self) -> None:
        self.touched += 1
        self.is_touched.set()


def test_nothing_is_touched_before_a_call_and_without_a_coordinator() -> None:
    worker = Worker()
    assert not worker.warm.step(0)
    worker.streams = 1
    assert not worker.warm.step(1)
    worker.calls = 1
    assert not worker.warm.step(2), "the call itself kept it awake"
    assert worker.warm.step(3)
    worker.streams = 0
    assert not worker.warm.step(4)


def test_it_rests_after_minutes_without_calls_and_wakes_with_the_next() -> None:
    worker = Worker()
    worker.streams, worker.calls = 1, 5
    worker.warm.step(0)
    assert worker.warm.step(100)
    assert not worker.warm.step(101)
    worker.calls = 6
    assert not worker.warm.step(500)
    assert worker.warm.step(501)


def test_the_thread_touches_and_stops() -> None:
    worker = Worker()
    worker.streams, worker.calls = 1, 1
    worker.warm.start()
    assert worker.is_touched.wait(10)
    worker.warm.stop()
    touched = worker.touched
    assert not worker.warm._thread.is_alive() and worker.touched == touched


def test_a_device_that_fails_ends_the_thread_and_not_the_worker() -> None:
    def fail() -> None:
        raise RuntimeError("no device")

    warm = KeepWarm(fail, streams=lambda: 1, calls=iter(range(1)).__next__, period_seconds=0.001)
    warm.start()
    warm._thread.join(10)
    assert not warm._thread.is_alive()


def test_the_kernel_that_touches_runs_here_too() -> None:
    touch_device()
