"""The rule by which a soak is judged: noise and caches that fill are no growth, a slow leak is."""

import math
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.soak_samples import Course, Rest, Sample, complaints, thread_count

REST = Rest(files=20, connections=5, threads=12)


def an_hour(resident_mb: Callable[[float], float]) -> list[Sample]:
    hours = [i / 1800 for i in range(1801)]
    return [Sample(at, resident_mb(at) + 3 * math.sin(700 * at), 25, 9, 14) for at in hours]


def filling(hours: float) -> float:
    return 200 + 60 * min(1.0, 5 * hours)


def told(resident_mb: Callable[[float], float], after: Rest = REST) -> list[str]:
    return complaints({"coordinator": an_hour(resident_mb)}, {"coordinator": REST}, {"coordinator": after})


def test_caches_that_fill_and_noise_are_no_growth() -> None:
    assert told(filling) == []
    assert Course.of(an_hour(filling)).end == pytest.approx(260, abs=3)


def test_a_leak_is_told_by_its_trend_and_by_its_end() -> None:
    trend, end = told(lambda hours: filling(hours) + 20 * hours)
    assert trend.startswith("coordinator: grows by 2")
    assert end.startswith("coordinator: 27")


@pytest.mark.parametrize("what", ["files", "connections", "threads"])
def test_one_that_stays_open_is_told(what: str) -> None:
    more = {"files": 20, "connections": 5, "threads": 12, what: 21}
    assert told(filling, Rest(**more)) == [f"coordinator: 21 {what} at rest, {getattr(REST, what)} before"]


def test_threads_are_counted_but_for_those_of_grpcs_pools(tmp_path: Path) -> None:
    for number, name in enumerate(("python", "event_engine", "python", "grpc_global_tim", "lifeguard")):
        task = tmp_path / "7" / "task" / str(number)
        task.mkdir(parents=True)
        (task / "comm").write_text(f"{name}\n")
    assert thread_count(7, tmp_path) == 2


def test_a_thread_more_is_counted() -> None:
    before, end = thread_count(os.getpid()), threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert thread_count(os.getpid()) == before + 1
    end.set()
    thread.join()
