"""Who goes first: the line for memory, the turns of prompts, and retry_window. All pure."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.engine.prefill_turns import PromptTurn, next_turn
from jangtq_coordinator.engine.retry_window import RetryWindow
from jangtq_coordinator.engine.stats import ServiceTime
from jangtq_coordinator.engine.wait_queue import MAX_OVERTAKES, WaitQueue
from jangtq_proto.errors import CallRejectedError, WorkerUnreachableError


@dataclass(frozen=True)
class Customer:
    uid: int
    size: int = 1


def line_of(*customers: Customer) -> WaitQueue[Customer]:
    line: WaitQueue[Customer] = WaitQueue()
    for customer in customers:
        line.append(customer)
    return line


def take_up_to(line: WaitQueue[Customer], size: int) -> int | None:
    taken = line.take(lambda customer: customer.size <= size)
    return None if taken is None else taken.uid


def test_first_come_first_served() -> None:
    line = line_of(Customer(1), Customer(2), Customer(3))
    line.put_back(Customer(0))
    assert line.remove(2) and not line.remove(2)
    assert [take_up_to(line, 1) for _ in range(4)] == [0, 1, 3, None]


def test_small_ones_pass_a_big_one_but_not_for_ever() -> None:
    small = [Customer(uid) for uid in range(1, 40)]
    line = line_of(Customer(0, size=9), *small)
    assert [take_up_to(line, 1) for _ in range(MAX_OVERTAKES)] == list(range(1, MAX_OVERTAKES + 1))
    assert take_up_to(line, 1) is None
    assert take_up_to(line, 9) == 0
    assert take_up_to(line, 1) == MAX_OVERTAKES + 1


@given(st.lists(st.integers(1, 5), min_size=1, max_size=60))
def test_nobody_waits_for_ever(sizes: list[int]) -> None:
    """Whoever came when a place was free for the biggest every now and then is served in bounded time."""
    line = line_of(*(Customer(uid, size) for uid, size in enumerate(sizes)))
    served: list[int] = []
    for turn in range(20 * len(sizes)):
        uid = take_up_to(line, 5 if turn % 10 == 9 else 1)
        served += [] if uid is None else [uid]
    assert sorted(served) == list(range(len(sizes)))
    for place, uid in enumerate(served):
        assert place - uid <= MAX_OVERTAKES * (1 + sum(size > 1 for size in sizes[:uid]))


def served_chunks(turns: list[PromptTurn], chunk: int) -> list[int]:
    """The order in which prompts are served until all are done."""
    order = []
    while turns:
        turn = next_turn(turns)
        order.append(turn.uid)
        rows = min(chunk, turn.remaining)
        for other in turns:
            other.waited += rows
        turn.waited, turn.remaining = 0, turn.remaining - rows
        turns = [one for one in turns if one.remaining]
    return order


def test_a_short_prompt_waits_for_no_long_one() -> None:
    order = served_chunks([PromptTurn(0, 8000), PromptTurn(1, 100), PromptTurn(2, 300)], chunk=100)
    assert order[:4] == [1, 2, 2, 2] and order[4:] == [0] * 80


def test_a_long_prompt_is_not_starved_by_short_ones() -> None:
    """Where a new short one always waits, the long one still gets a chunk for each of its own length."""
    long, order = PromptTurn(-1, 1000), []
    for uid in range(100):
        short = PromptTurn(uid, 100)
        turn = next_turn([long, short])
        order.append(turn.uid)
        rows = 100
        long.waited = 0 if turn is long else long.waited + rows
        long.remaining -= rows if turn is long else 0
        if not long.remaining:
            break
    assert order.count(-1) == 10 and order.index(-1) <= 10


def test_patience_counts_from_the_first_failure_to_the_next_success() -> None:
    retry_window, lost = RetryWindow(10), WorkerUnreachableError("gone")
    assert not retry_window.is_tried
    assert retry_window.allows(lost, started=100, now=105) and retry_window.is_tried
    assert retry_window.allows(lost, started=107, now=109.9)
    assert not retry_window.allows(lost, started=108, now=110)
    retry_window.succeeded()
    assert retry_window.allows(lost, started=200, now=209)


@pytest.mark.parametrize("error", [CallRejectedError("malformed"), ValueError("a bug")])
def test_no_patience_with_what_will_not_get_better(error: Exception) -> None:
    retry_window = RetryWindow(10)
    assert not retry_window.allows(error, started=0, now=0) and not retry_window.is_tried


def test_retry_after_follows_what_requests_took() -> None:
    times = ServiceTime()
    assert times.retry_after_seconds(4) == 1
    for _ in range(50):
        times.record(60)
    assert times.retry_after_seconds(4) == 15
    for _ in range(50):
        times.record(1e6)
    assert times.retry_after_seconds(4) == 600
