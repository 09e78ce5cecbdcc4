"""Whether passes run as halves is decided by measured times, and decided well."""

from dataclasses import dataclass

import pytest

from jangtq_coordinator.overlap import OverlapChooser, OverlapMode, PassShape, class_of, is_better

DECODE = PassShape(sequences=8, tokens=1)


@dataclass(frozen=True)
class Machine:
    """How long a pass takes either way, in seconds; every seventh takes three times as long."""

    whole: float
    overlapped: float
    waiting: float = 0.5

    def run(self, chooser: OverlapChooser, passes: int, *, shape: PassShape = DECODE) -> list[bool]:
        """Which passes were overlapped."""
        chosen = []
        for number in range(passes):
            overlapped = chooser.choose(shape)
            seconds = (self.overlapped if overlapped else self.whole) * (3 if number % 7 == 0 else 1)
            chooser.record(shape, overlapped=overlapped, seconds=seconds, waiting=self.waiting * seconds)
            chosen.append(overlapped)
        return chosen


def test_halves_are_kept_where_they_are_faster() -> None:
    chosen = Machine(whole=0.010, overlapped=0.007).run(OverlapChooser(OverlapMode.AUTO), 1000)
    assert all(chosen[5:10])
    assert sum(chosen) > 950


@pytest.mark.parametrize("overlapped", [0.0098, 0.010, 0.020])
def test_slower_halves_are_tried_ever_more_rarely(overlapped: float) -> None:
    chosen = Machine(whole=0.010, overlapped=overlapped).run(OverlapChooser(OverlapMode.AUTO), 10_000)
    assert not any(chosen[:5])
    assert 5 <= sum(chosen[:1000]) <= 35
    assert sum(chosen[1000:]) <= 20


def test_nothing_is_tried_where_there_is_no_waiting_to_hide() -> None:
    machine = Machine(whole=0.010, overlapped=0.005, waiting=0.05)
    assert not any(machine.run(OverlapChooser(OverlapMode.AUTO), 1000))


def test_a_change_of_the_machine_changes_the_choice() -> None:
    chooser = OverlapChooser(OverlapMode.AUTO)
    assert Machine(whole=0.010, overlapped=0.007).run(chooser, 100)[-1]
    assert not Machine(whole=0.010, overlapped=0.015).run(chooser, 5000)[-1]


def test_each_kind_of_pass_is_decided_by_itself() -> None:
    chooser = OverlapChooser(OverlapMode.AUTO)
    Machine(whole=0.010, overlapped=0.007).run(chooser, 20)
    Machine(whole=0.010, overlapped=0.013).run(chooser, 20, shape=PassShape(1, 500))
    states = {(state.kind, state.most_rows): state for state in chooser.states()}
    assert states["decode", 8].overlapped
    assert not states["prefill", 512].overlapped
    assert (states["decode", 8].whole_ms, states["decode", 8].overlapped_ms) == (10.0, 7.0)
    assert chooser.passes[False] + chooser.passes[True] == 40


@pytest.mark.parametrize(("mode", "expected"), [(OverlapMode.ON, True), (OverlapMode.OFF, False)])
def test_a_forced_choice_is_obeyed(mode: OverlapMode, expected: bool) -> None:
    chosen = Machine(whole=0.010, overlapped=0.007).run(OverlapChooser(mode), 100)
    assert set(chosen) == {expected}


def test_a_change_needs_a_gain_beyond_noise() -> None:
    assert not is_better([0.96, 0.96, 0.1], [1.0, 1.0, 1.0])
    assert is_better([0.94, 0.94, 9.0], [1.0, 1.0, 1.0])


def test_passes_of_like_size_compare() -> None:
    assert class_of(PassShape(5, 1)) == class_of(PassShape(2, 4)) != class_of(PassShape(1, 8))
    assert class_of(PassShape(9, 1)) != class_of(PassShape(8, 1))
