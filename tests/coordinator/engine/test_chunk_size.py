"""How large a prompt's chunks are beside sequences that decode: on model clocks, whose truth is known."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from jangtq_coordinator.engine.chunk_size import ChunkSize

LIMIT = 0.2
Clock = Callable[[int, int], float]


def clock(fixed: float, a_row: float, a_pair: float, *, noise: float = 0, stalls: float = 0) -> Clock:
    """Seconds of a chunk: attention looks at a pair of tokens for each row and each token before it."""
    dice = random.Random(1)

    def seconds(rows: int, context: int) -> float:
        true = fixed + a_row * rows + a_pair * rows * (context + rows / 2)
        return true * dice.lognormvariate(0, noise) * (3 if dice.random() < stalls else 1)

    return seconds


MACHINES = {
    "attention dear": (0.005, 0.0005, 4e-7),
    "attention free": (0.005, 0.001, 0),
    "exchanges dear": (0.05, 0.001, 1e-8),
    "fast": (0.002, 0.00005, 1e-8),
}


def prefill(chunk: ChunkSize, seconds: Clock, *, tokens: int, cached: int = 0) -> list[float]:
    """What the chunks of one prompt took."""
    took, context = [], cached
    while context < tokens:
        rows = min(chunk.rows(context, others_wait=True), tokens - context)
        took.append(seconds(rows, context))
        chunk.record(rows, context, seconds=took[-1])
        context += rows
    return took


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_no_chunk_takes_longer_than_allowed_on_a_steady_machine(machine: tuple[float, float, float]) -> None:
    """Not the first ones either, nor those after a kept beginning, nor after a longer prompt."""
    chunk, seconds = ChunkSize(limit_seconds=LIMIT, most=512), clock(*machine)
    for tokens, cached in ((8000, 0), (300, 0), (12_000, 7000), (20_000, 0), (9000, 0)):
        assert max(prefill(chunk, seconds, tokens=tokens, cached=cached)) <= LIMIT


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_chunks_use_most_of_the_time_that_they_may_take(machine: tuple[float, float, float]) -> None:
    chunk, seconds = ChunkSize(limit_seconds=LIMIT, most=100_000), clock(*machine)
    took = prefill(chunk, seconds, tokens=200_000)
    assert np.median(took[len(took) // 2 :]) >= 0.7 * LIMIT


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_one_chunk_in_a_hundred_takes_longer_on_a_noisy_machine(machine: tuple[float, float, float]) -> None:
    chunk, seconds = ChunkSize(limit_seconds=LIMIT, most=512), clock(*machine, noise=0.1)
    took = [one for _ in range(4) for one in prefill(chunk, seconds, tokens=20_000)]
    assert np.quantile(took, 0.99) <= LIMIT


def test_short_prompts_in_between_tell_nothing_wrong_about_a_long_one() -> None:
    """Their rows see few tokens and are cheap; those of the long one see thousands."""
    chunk, seconds, context = ChunkSize(limit_seconds=LIMIT, most=512), clock(*MACHINES["attention dear"]), 0
    while context < 8000:
        prefill(chunk, seconds, tokens=30)
        rows = chunk.rows(context, others_wait=True)
        took = seconds(rows, context)
        assert took <= LIMIT
        chunk.record(rows, context, seconds=took)
        context += rows


def test_chunks_shrink_where_some_stall() -> None:
    """Where 3 in 100 take three times as long, those that take longer than allowed become as rare."""
    chunk, seconds = ChunkSize(limit_seconds=LIMIT, most=512), clock(0.005, 0.0005, 4e-7, stalls=0.03)
    took = [one for _ in range(4) for one in prefill(chunk, seconds, tokens=20_000)]
    late = took[len(took) // 2 :]
    assert np.median(late) <= LIMIT / 2 and np.mean([one > LIMIT for one in late]) <= 0.03


def test_a_machine_that_became_slower_is_noticed() -> None:
    chunk = ChunkSize(limit_seconds=LIMIT, most=512)
    prefill(chunk, clock(0.005, 0.0005, 0), tokens=8000)
    took = prefill(chunk, clock(0.005, 0.002, 0), tokens=8000)
    assert max(took[20:]) <= LIMIT


def test_the_first_chunk_is_small_because_nothing_is_known() -> None:
    assert ChunkSize(limit_seconds=LIMIT, most=512).rows(0, others_wait=True) == 8


def test_time_that_is_spent_already_makes_chunks_smaller() -> None:
    chunk = ChunkSize(limit_seconds=LIMIT, most=512)
    prefill(chunk, clock(0.005, 0.0005, 0), tokens=8000)
    whole = chunk.rows(0, others_wait=True)
    assert chunk.rows(0, others_wait=True, spent_seconds=LIMIT / 2) <= whole * 0.6
    assert chunk.rows(0, others_wait=True, spent_seconds=10) == 8


@pytest.mark.parametrize(("limit_seconds", "others_wait"), [(0, True), (LIMIT, False)])
def test_chunks_are_as_large_as_allowed_where_nobody_or_nothing_limits(
    limit_seconds: float, others_wait: bool
) -> None:
    chunk = ChunkSize(limit_seconds=limit_seconds, most=300)
    chunk.record(300, 0, seconds=1000)
    assert chunk.rows(0, others_wait=others_wait) == 300


def test_small_chunk_limits_hold() -> None:
    chunk = ChunkSize(limit_seconds=LIMIT, most=3)
    for seconds in (10.0, 1e-9):
        chunk.record(3, 0, seconds=seconds)
        assert chunk.rows(0, others_wait=True) == 3


def test_a_limit_out_of_reach_is_known_after_some_chunks() -> None:
    """Of the smallest only, all of the newest ones."""
    chunk = ChunkSize(limit_seconds=LIMIT, most=512)
    for seconds in (0.5, 0.6, 0.7, LIMIT, *[0.3] * 7):
        chunk.record(8, 0, seconds=seconds)
        assert chunk.out_of_reach is None
    chunk.record(9, 0, seconds=5)
    assert chunk.out_of_reach is None
    chunk.record(8, 0, seconds=5)
    assert chunk.out_of_reach == 0.3
    prefill(chunk, clock(0.4, 0.001, 0), tokens=100)
    assert chunk.out_of_reach == pytest.approx(0.408)
    prefill(chunk, clock(0.01, 0.001, 0), tokens=100)
    assert chunk.out_of_reach is None


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_a_limit_within_reach_is_not_called_out_of_it(machine: tuple[float, float, float]) -> None:
    chunk = ChunkSize(limit_seconds=LIMIT, most=512)
    for tokens in (3, 30, 3000):
        prefill(chunk, clock(*machine, noise=0.3, stalls=0.05), tokens=tokens)
        assert chunk.out_of_reach is None


def test_no_limit_is_in_reach() -> None:
    chunk = ChunkSize(limit_seconds=0, most=512)
    for _ in range(20):
        chunk.record(8, 0, seconds=100)
    assert chunk.out_of_reach is None
