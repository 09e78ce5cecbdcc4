"""A mark that rises fast and sinks slowly."""

from jangtq_coordinator.metrics.running_high import RunningHigh


def test_few_values_exceed_the_mark() -> None:
    high = RunningHigh(1.0)
    above = 0
    for turn in range(20_000):
        value = (turn * 7919 % 1000) / 1000
        above += turn >= 10_000 and value > high.value
        high.add(value)
    assert 0.02 < above / 10_000 < 0.1


def test_a_mark_follows_a_change_of_level() -> None:
    high = RunningHigh(1.0)
    for _ in range(20):
        high.add(10.0)
    assert 9.9 < high.value <= 10.0
    for _ in range(3000):
        high.add(1.0)
    assert 1.0 <= high.value < 1.1
