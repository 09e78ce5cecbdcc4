"""What is noted of native exchanges is in every book as soon as anybody reads it, once and in order."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from jangtq_coordinator.dispatch.exchange_library import PartStruct, Summary
from jangtq_coordinator.dispatch.recorder import Books, ExchangeRecord, Recorder

from jangtq_coordinator.cluster.placement import Member
from jangtq_coordinator.metrics.expert_load import ExpertLoad
from jangtq_coordinator.metrics.layer_times import LayerTimes
from jangtq_coordinator.metrics.timeline import Timeline
from jangtq_coordinator.metrics.worker_traffic import ClusterTraffic
from tests.support.fixed_cluster import membership_of

MEMBERSHIP = membership_of({"a": "0-1", "b": "2-3", "c": "4"}, 5)


def part(picks: int, *, sent: int = 0, read: int = 0) -> PartStruct:
    nothing = dict.fromkeys(PartStruct._fields, 0)
    return PartStruct(**nothing)._replace(
        picks=picks, rows=2, distinct=2, sent_ns=sent, read_ns=read, queue_ns=1, compute_ns=10
    )


def entry(began: int) -> ExchangeRecord:
    """Two rows with two experts of `a` and one of `b`, whose answers came 50 and 70 after it began."""
    parts = [part(4, sent=began + 20, read=began + 50), part(2, sent=began + 25, read=began + 70), part(0)]
    summary = Summary(slowest=1, queue_ns=1, compute_ns=10, decode_ns=2, read_ns=began + 70)
    numbers = [number for told in (summary, *parts) for number in told]
    return ExchangeRecord(
        MEMBERSHIP.placement,
        0,
        np.array([[0, 1, 2], [0, 1, 3]], dtype=np.int32),
        began,
        began + 10,
        began + 30,
        began + 40,
        began + 80,
        np.array(numbers, dtype=np.int64).tobytes(),
    )


class Kept:
    """The books of one layer and five experts, and the paces that were recorded."""

    def __init__(self) -> None:
        self.books = Books(LayerTimes(1), Timeline(), ClusterTraffic(), ExpertLoad(1, 5))
        self.paces: list[tuple[str, int, float, int, float]] = []
        self.ledger = Recorder(self.books, self._record_pace)

    def _record_pace(
        self, member: Member, rows: int, *, waited_seconds: float, compute_ns: int, cost: float
    ) -> None:
        self.paces.append((member.name, rows, round(waited_seconds * 1e9), compute_ns, cost))


def test_every_book_tells_of_what_was_noted() -> None:
    kept = Kept()
    kept.ledger.note(entry(1000))
    times, timeline, traffic, load = kept.books
    assert [sum(histogram.counts) for histogram in times.histograms()] == [1] * 7
    (exchange,) = timeline.copy().exchanges
    assert (exchange.began, exchange.started, exchange.sent, exchange.waited) == (1000, 1010, 1030, 1040)
    assert (exchange.read, exchange.ended, exchange.rows, exchange.slowest_worker) == (1070, 1080, 2, "b")
    assert (exchange.queue, exchange.compute, exchange.decode) == (1, 10, 2)
    workers = traffic.all()
    assert {name: (of.calls, of.picks, of.wait_ns) for name, of in workers.items()} == {
        "a": (1, 4, 30),
        "b": (1, 2, 45),
    }
    assert load is not None
    assert load.totals().tolist() == [2, 2, 1, 1, 0]
    assert [pace[:4] for pace in kept.paces] == [("a", 2, 10, 10), ("b", 2, 20, 10)]


def test_times_can_be_left_out() -> None:
    kept = Kept()
    kept.ledger.note(entry(1000)._replace(is_timed=False))
    times, timeline, traffic, _ = kept.books
    assert timeline.copy().exchanges == () == times.splits()
    assert traffic.of("a").calls == 1
    assert len(kept.paces) == 2


@pytest.mark.parametrize("book", range(4))
def test_whichever_book_is_read_first_all_are_up_to_date(book: int) -> None:
    kept = Kept()
    kept.ledger.note(entry(1000))
    times, timeline, traffic, load = kept.books
    assert load is not None
    reads: list[Callable[[], int]] = [
        lambda: sum(times.histograms()[0].counts),
        lambda: len(timeline.copy().exchanges),
        lambda: traffic.of("a").calls,
        lambda: int(load.recent()[0, 2]),
    ]
    assert [read() for read in reads[book:] + reads[:book]] == [1] * 4


def test_many_are_written_at_once_in_their_order() -> None:
    kept = Kept()
    for number in range(15):
        kept.ledger.note(entry(number * 100))
        kept.ledger.settle_many()
    assert kept.paces == [], "there are not many yet"
    kept.ledger.note(entry(1500))
    kept.ledger.settle_many()
    assert len(kept.paces) == 32
    began = [exchange.began for exchange in kept.books.timeline.copy().exchanges]
    assert began == [number * 100 for number in range(16)]


def test_nothing_is_lost_or_written_twice_while_others_read() -> None:
    kept = Kept()
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            kept.books.timeline.copy()
            kept.books.traffic.all()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(500):
            kept.ledger.note(entry(number))
            kept.ledger.settle_many()
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    assert [exchange.began for exchange in kept.books.timeline.copy().exchanges] == list(range(500))
    assert kept.books.traffic.of("b").calls == 500
