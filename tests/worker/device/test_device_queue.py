"""Turns at the device: who comes when, who goes along, and that joined calls give what they give alone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from jangtq_proto.errors import CallRejectedError
from jangtq_proto.wire.codec import LayerCall
from jangtq_worker.device.call_batch import MOST_JOINED_ROWS, goes_along
from jangtq_worker.device.device_queue import DeviceQueue
from tests.support.scripted_workers import (
    EXPERTS,
    EXPRESS,
    GRPC,
    Way,
    ask,
    connection_to,
    scripted_worker,
    some_call,
)


def until(condition: Callable[[], bool]) -> None:
    end = monotonic() + 60
    while not condition():
        assert monotonic() < end, "nothing happened for a minute"
        sleep(0.001)


class Device:
    """Computes when it is let, and notes what went together. Calls go along when they begin alike.

    Long ones take as many turns as the number with which they end says.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self.served: list[list[str]] = []
        self.threads: list[int] = []
        self.may_go = threading.Semaphore(0)
        self.turns = DeviceQueue(self.compute, self.goes_along, is_long=lambda call: "long" in call)

    def goes_along(self, calls: Sequence[str], other: str) -> bool:
        return calls[0][0] == other[0] and "long" not in calls[0] + other

    def compute(self, calls: Sequence[str]) -> list[str | BaseException | None]:
        self.has_begun = True
        assert self.may_go.acquire(timeout=60)
        self.served.append(list(calls))
        self.threads.append(threading.get_ident())
        if "long" in calls[0] and self.served.count([calls[0]]) < int(calls[0][-1]):
            return [None]
        return [ValueError(call) if "bad" in call else call.upper() for call in calls]


def queue_up(device: Device, pool: ThreadPoolExecutor, *calls: str) -> list[Future[str]]:
    """One after the other, in this order, behind a first one that has the device."""
    futures = []
    for position, call in enumerate(calls):
        futures.append(pool.submit(device.turns.take, call))
        until(lambda position=position: device.has_begun and device.turns.waiting == position)  # type: ignore[misc]
    return futures


def test_whoever_is_alone_computes_at_once_and_in_its_own_thread() -> None:
    device = Device()
    device.may_go.release(3)
    assert [device.turns.take(call) for call in ("a1", "b1", "a2")] == ["A1", "B1", "A2"]
    assert device.threads == [threading.get_ident()] * 3
    assert device.turns.waiting == 0


def test_first_come_first_served_and_what_goes_along_goes_at_once() -> None:
    device = Device()
    with ThreadPoolExecutor(8) as pool:
        futures = queue_up(device, pool, "a1", "b1", "a2", "c1", "b2", "a3")
        device.may_go.release(10)
        assert [future.result(60) for future in futures] == ["A1", "B1", "A2", "C1", "B2", "A3"]
    assert device.served == [["a1"], ["b1", "b2"], ["a2", "a3"], ["c1"]]


def test_an_error_is_its_own_calls_alone() -> None:
    device = Device()
    with ThreadPoolExecutor(8) as pool:
        futures = queue_up(device, pool, "x", "b1", "b-bad", "b2")
        device.may_go.release(10)
        with pytest.raises(ValueError, match="b-bad"):
            futures[2].result(60)
        assert [futures[i].result(60) for i in (1, 3)] == ["B1", "B2"]


def test_a_device_that_breaks_is_passed_on() -> None:
    def breaks(calls: Sequence[int]) -> list[int | BaseException | None]:
        raise MemoryError("no room")

    turns = DeviceQueue(breaks, lambda calls, other: False, is_long=lambda call: False)
    for _ in range(2):
        with pytest.raises(MemoryError):
            turns.take(1)


def test_a_stream_with_endless_calls_starves_nobody() -> None:
    device, rounds = Device(), 50
    stop = threading.Event()

    def greedy() -> None:
        while not stop.is_set():
            device.turns.take("greedy")

    endless = threading.Thread(target=greedy)
    endless.start()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(rounds):
            polite = pool.submit(device.turns.take, "polite")
            until(lambda: device.turns.waiting == 1)
            device.may_go.release(2)  # for the call that has the device, and for the next
            assert polite.result(60) == "POLITE"
        stop.set()
        device.may_go.release(2)
        endless.join(60)
    assert device.served[: 2 * rounds] == [["greedy"], ["polite"]] * rounds


def test_short_calls_come_first_between_turns_of_long_ones_which_alternate() -> None:
    device = Device()
    with ThreadPoolExecutor(8) as pool:
        futures = queue_up(device, pool, "long-3", "other long-2", "b1", "c1", "b2")
        device.may_go.release(10)
        assert [future.result(60) for future in futures] == ["LONG-3", "OTHER LONG-2", "B1", "C1", "B2"]
    assert [calls[0] for calls in device.served] == [
        "long-3",
        "b1",
        "c1",
        "other long-2",
        "long-3",
        "other long-2",
        "long-3",
    ]
    assert ["b1", "b2"] in device.served
    assert device.turns.waiting == 0


def test_who_is_alone_goes_on_in_its_own_thread() -> None:
    device = Device()
    device.may_go.release(3)
    assert device.turns.take("long-3") == "LONG-3"
    assert device.threads == [threading.get_ident()] * 3


def test_endless_short_calls_let_a_long_one_have_every_other_turn() -> None:
    device = Device()
    with ThreadPoolExecutor(1) as pool, ThreadPoolExecutor(1) as other:
        long = other.submit(device.turns.take, "long-5")
        until(lambda: device.has_begun)
        for _ in range(5):
            assert not long.done()
            short = pool.submit(device.turns.take, "short")
            until(lambda: device.turns.waiting == 1)
            device.may_go.release(2)  # for the long one's turn, and for the next
            assert short.result(60) == "SHORT"
        assert long.result(60) == "LONG-5"
    assert device.served == [["long-5"], ["short"]] * 5


@contextmanager
def busy_worker(
    small_bundle: Path, way: Way, connections: int
) -> Iterator[tuple[Callable[[Sequence[LayerCall]], list[Future[np.ndarray]]], list[int], threading.Event]]:
    """A worker with its device held up: queues calls on own connections, lists launches; what frees it."""
    go_on, launches = threading.Event(), list[int]()
    with ExitStack() as stack:
        worker = stack.enter_context(scripted_worker(small_bundle))
        ways = [stack.enter_context(connection_to(worker, way)) for _ in range(connections + 1)]
        pool = stack.enter_context(ThreadPoolExecutor(connections + 1))

        def hold() -> None:
            launches.append(0)
            go_on.wait(60)

        worker.script.act = hold

        def queue_calls(calls: Sequence[LayerCall]) -> list[Future[np.ndarray]]:
            pool.submit(ask, ways[0])
            until(lambda: len(launches) == 1)
            futures = []
            for number, call in enumerate(calls, start=1):
                futures.append(pool.submit(ask, ways[number], call))
                until(lambda number=number: worker.server.admission.shard().waiting == number)  # type: ignore[misc]
            return futures

        stack.callback(go_on.set)
        yield queue_calls, launches, go_on


@pytest.mark.parametrize("way", (GRPC, EXPRESS), ids=str)
def test_calls_that_wait_together_are_one_launch_with_the_bits_of_many(small_bundle: Path, way: Way) -> None:
    calls = [some_call(rows=1 + seed, slots=2 + seed, seed=seed) for seed in range(3)]
    with scripted_worker(small_bundle) as idle, connection_to(idle, way) as connection:
        alone = [ask(connection, call) for call in calls]
    with busy_worker(small_bundle, way, len(calls)) as (queue_calls, launches, go_on):
        futures = queue_calls(calls)
        go_on.set()
        for future, expected in zip(futures, alone, strict=True):
            np.testing.assert_array_equal(future.result(60), expected)
        assert len(launches) == 2


def test_a_bad_call_does_not_fail_those_that_it_was_joined_with(small_bundle: Path) -> None:
    way, good = GRPC, some_call(seed=4)
    bad = replace(good, expert_ids=np.full_like(good.expert_ids, EXPERTS))
    with scripted_worker(small_bundle) as idle, connection_to(idle, way) as connection:
        expected = ask(connection, good)
    with busy_worker(small_bundle, way, 3) as (queue_calls, _, go_on):
        first, refused, last = queue_calls([good, bad, good])
        go_on.set()
        with pytest.raises(CallRejectedError, match="layer 0: expert 32"):
            refused.result(60)
        np.testing.assert_array_equal(first.result(60), expected)
        np.testing.assert_array_equal(last.result(60), expected)


def test_only_like_calls_go_along_and_not_too_many() -> None:
    call = some_call(rows=2)
    assert goes_along([call, call], call)
    assert not goes_along([call], replace(call, layer=1))
    assert not goes_along([call], replace(call, prefill=True))
    assert not goes_along([call], replace(call, rows=call.rows.astype(np.float16)))
    many = some_call(rows=MOST_JOINED_ROWS - 2)
    assert goes_along([call], many)
    assert not goes_along([call, call], many)


def test_a_device_is_taken_without_a_place_only_while_it_is_free() -> None:
    order: list[str] = []

    def compute(calls: Sequence[str]) -> list[str]:
        order.extend(calls)
        return list(calls)

    device: DeviceQueue[str, str] = DeviceQueue(
        compute, lambda calls, call: False, is_long=lambda call: False
    )
    assert device.try_take() and not device.try_take()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(device.take, name) for name in ("one", "two")]
        until(lambda: device.waiting == 2)
        assert not device.try_take() and order == []
        device.pass_on()
        assert sorted(future.result(60) for future in waiting) == ["one", "two"]
    assert device.try_take()
    device.pass_on()
