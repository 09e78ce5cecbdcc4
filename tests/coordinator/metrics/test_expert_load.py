"""Picks are counted by layer and expert, and those of earlier minutes are forgotten."""

import numpy as np

from jangtq_coordinator.metrics.expert_load import WINDOW_SECONDS, ExpertLoad


class Clock:
    def __init__(self) -> None:
        self.seconds = 1e6

    def __call__(self) -> float:
        return self.seconds


def picks(*rows: tuple[int, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    return np.array(rows, dtype=np.int32)


def test_picks_are_counted_for_each_layer() -> None:
    load = ExpertLoad(2, 4)
    load.record(0, picks((0, 3), (3, 1)))
    load.record(1, picks((2, 3)))
    load.record(1, picks((2, 0)))
    assert load.recent().tolist() == [[1, 1, 0, 2], [1, 0, 2, 1]]
    assert load.totals().tolist() == [2, 1, 2, 3]


def test_only_the_window_is_recent() -> None:
    clock = Clock()
    load = ExpertLoad(1, 2, now=clock)
    for _ in range(100):
        load.record(0, picks((0,)))
        clock.seconds += WINDOW_SECONDS / 10
    assert load.recent().tolist() == [[9, 0]]
    clock.seconds += WINDOW_SECONDS
    assert load.recent().tolist() == [[0, 0]]
    load.record(0, picks((1,)))
    assert load.recent().tolist() == [[0, 1]]
    assert load.totals().tolist() == [100, 1]


def test_slices_of_an_earlier_round_do_not_come_back() -> None:
    clock = Clock()
    load = ExpertLoad(1, 1, now=clock)
    load.record(0, picks((0,)))
    clock.seconds += 3 * WINDOW_SECONDS
    load.record(0, picks((0,)))
    assert load.recent().tolist() == [[1]]
