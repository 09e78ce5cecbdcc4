"""What is noted of exchanges is in every count as soon as it is read, once and in order."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from jangtq_coordinator.metrics.recorder import CallRecord, ExchangeRecord, Recorder


def record(began: int) -> ExchangeRecord:
    """Two rows with two experts of `a` and one of `b`, whose answers came 50 and 70 after it began."""
    calls = (
        CallRecord("a", 2, 4, 2, began + 20, began + 50, 1, 9),
        CallRecord("b", 2, 2, 2, began + 25, began + 70, 1, 10),
    )
    ids = np.array([[0, 1, 2], [0, 1, 3]], dtype=np.int32)
    stamps = began, began + 10, began + 30, began + 40, began + 70, began + 80
    return ExchangeRecord(0, ids, *stamps, decode=2, calls=lambda: calls)


class Kept:
    """A recorder of one layer and five experts, and what it told of answered calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.recorder = Recorder(1, 5, self._record)

    def _record(self, call: CallRecord, waited_seconds: float) -> None:
        self.calls.append((call.worker, round(waited_seconds * 1e9)))


def test_every_count_tells_of_what_was_noted() -> None:
    kept = Kept()
    kept.recorder.note(record(1000))
    assert [sum(histogram.counts) for histogram in kept.recorder.times.histograms()] == [1] * 7
    (exchange,) = kept.recorder.timeline.copy().exchanges
    assert (exchange.began, exchange.started, exchange.sent, exchange.waited) == (1000, 1010, 1030, 1040)
    assert (exchange.read, exchange.ended, exchange.rows, exchange.slowest_worker) == (1070, 1080, 2, "b")
    assert (exchange.queue, exchange.compute, exchange.decode) == (1, 10, 2)
    workers = kept.recorder.traffic.all()
    assert {name: (of.calls, of.picks, of.wait_ns) for name, of in workers.items()} == {
        "a": (1, 4, 30),
        "b": (1, 2, 45),
    }
    assert kept.recorder.load.totals().tolist() == [2, 2, 1, 1, 0]
    assert kept.calls == [("a", 10), ("b", 20)]


def test_times_can_be_left_out() -> None:
    kept = Kept()
    kept.recorder.note(record(1000)._replace(is_timed=False))
    assert kept.recorder.timeline.copy().exchanges == () == kept.recorder.times.splits()
    assert kept.recorder.traffic.of("a").calls == 1
    assert len(kept.calls) == 2


@pytest.mark.parametrize("first", range(4))
def test_whichever_count_is_read_first_all_are_up_to_date(first: int) -> None:
    recorder = Kept().recorder
    recorder.note(record(1000))
    reads: list[Callable[[], int]] = [
        lambda: sum(recorder.times.histograms()[0].counts),
        lambda: len(recorder.timeline.copy().exchanges),
        lambda: recorder.traffic.of("a").calls,
        lambda: int(recorder.load.recent()[0, 2]),
    ]
    assert [read() for read in reads[first:] + reads[:first]] == [1] * 4


def test_many_are_counted_at_once_in_their_order() -> None:
    kept = Kept()
    for number in range(63):
        kept.recorder.note(record(number * 100))
        kept.recorder.flush_many()
    assert kept.calls == [], "there are not many yet"
    kept.recorder.note(record(6300))
    kept.recorder.flush_many()
    assert len(kept.calls) == 128
    began = [exchange.began for exchange in kept.recorder.timeline.copy().exchanges]
    assert began == [number * 100 for number in range(64)]


def test_a_long_prompt_is_counted_soon() -> None:
    kept = Kept()
    kept.recorder.note(record(0)._replace(expert_ids=np.zeros((5000, 1), dtype=np.int32)))
    kept.recorder.flush_many()
    assert len(kept.calls) == 2


def test_nothing_is_lost_or_counted_twice_while_others_read() -> None:
    recorder = Kept().recorder
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            recorder.timeline.copy()
            recorder.traffic.all()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(500):
            recorder.note(record(number))
            recorder.flush_many()
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    assert [exchange.began for exchange in recorder.timeline.copy().exchanges] == list(range(500))
    assert recorder.traffic.of("b").calls == 500
