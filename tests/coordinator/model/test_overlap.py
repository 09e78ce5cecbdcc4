"""Whether passes run as halves is decided by measured times, and decided well."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.model.overlap import (
    FIRST_TRIALS,
    TRIAL_SHARE,
    OverlapChooser,
    OverlapMode,
    PassShape,
    class_of,
    is_proven,
)

DECODE = PassShape(sequences=8, tokens=1)
PREFILL = PassShape(sequences=1, tokens=500)


@dataclass
class Machine:
    """Seconds that a pass takes either way, on the mean; `noise` is their spread, and one in twenty takes
    three times as long where there is any.
    """

    whole: float = 0.010
    overlapped: float = 0.010
    waiting: float = 0.5
    noise: float = 0.0
    random: Random = field(default_factory=lambda: Random(1))

    def mean(self, overlapped: bool) -> float:
        return self.overlapped if overlapped else self.whole

    def take(self, overlapped: bool) -> float:
        if not self.noise:
            return self.mean(overlapped)
        hiccup = 3 if self.random.random() < 0.05 else 1
        return self.mean(overlapped) * self.random.lognormvariate(0, self.noise) * hiccup


def run(machine: Machine, chooser: OverlapChooser, passes: int, *, shape: PassShape = DECODE) -> list[bool]:
    """Which passes were overlapped."""
    chosen = []
    for _ in range(passes):
        overlapped = chooser.choose(shape)
        seconds = machine.take(overlapped)
        chooser.record(shape, overlapped=overlapped, seconds=seconds, waiting=machine.waiting * seconds)
        chosen.append(overlapped)
    return chosen


def auto() -> OverlapChooser:
    return OverlapChooser(OverlapMode.AUTO)


def lost(
    new_machine: Callable[[Random], Machine],
    change: Callable[[Machine, float], None] = lambda machine, part: None,
    *,
    passes: int = 2000,
) -> float:
    """How much longer than the better way in every pass auto's choices take on the mean, as a part.

    `change` makes a machine over, told which part of the passes is done.
    """
    chosen = better = 0.0
    for seed in range(3):
        machine, chooser = new_machine(Random(seed)), auto()
        for number in range(passes):
            change(machine, number / passes)
            (overlapped,) = run(machine, chooser, 1)
            chosen += machine.mean(overlapped)
            better += min(machine.whole, machine.overlapped)
    return chosen / better - 1


@pytest.mark.parametrize("gain", [1.04, 1.1, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_halves_are_found_where_they_are_faster(gain: float, seed: int) -> None:
    machine = Machine(overlapped=0.010 / gain, noise=0.05, random=Random(seed))
    chooser = auto()
    run(machine, chooser, 300)
    assert sum(run(machine, chooser, 100)) > 60


def test_six_trials_that_all_pay_are_enough() -> None:
    chosen = run(Machine(overlapped=0.009), auto(), 14)
    assert chosen == [False, True] * 6 + [False, True]


@given(ratio=st.floats(0.5, 2.0), passes=st.integers(1, 1000))
def test_trials_cost_what_is_stated_and_no_more(ratio: float, passes: int) -> None:
    machine, chooser = Machine(overlapped=0.010 * ratio), auto()
    chosen = run(machine, chooser, passes)
    better = min(machine.whole, machine.overlapped)
    assert chooser.trial_seconds <= (TRIAL_SHARE * passes + FIRST_TRIALS + 1) * better * (1 + 1e-9)
    # Seven whole passes were there to be compared with, and a gain that is too small for a change is lost.
    to_compare = 7 * max(0.0, machine.whole - machine.overlapped)
    allowed = chooser.trial_seconds + to_compare + 1.5 * machine.whole
    assert sum(map(machine.mean, chosen)) <= 1.0102 * passes * better + allowed


@pytest.mark.parametrize("ratio", [0.6, 0.9, 1.0, 1.03, 1.9])
@pytest.mark.parametrize(("noise", "most_lost"), [(0.02, 0.02), (0.1, 0.02), (0.3, 0.04)])
def test_auto_is_no_slower_than_the_better_way(ratio: float, noise: float, most_lost: float) -> None:
    assert lost(lambda random: Machine(0.010, 0.010 * ratio, noise=noise, random=random)) < most_lost


def test_a_machine_that_changes_at_once_is_followed() -> None:
    def change(machine: Machine, part: float) -> None:
        machine.overlapped = (0.007, 0.015, 0.008)[min(int(part * 3), 2)]

    assert lost(lambda random: Machine(noise=0.05, random=random), change) < 0.05


@pytest.mark.parametrize(("at_first", "at_last"), [(0.7, 1.4), (1.4, 0.7)])
def test_a_machine_that_changes_slowly_is_followed(at_first: float, at_last: float) -> None:
    """As with a growing context: passes become slower, and what halves gain changes."""

    def change(machine: Machine, part: float) -> None:
        machine.whole = 0.010 * (1 + 2 * part)
        machine.overlapped = machine.whole * (at_first + (at_last - at_first) * part)

    assert lost(lambda random: Machine(noise=0.05, random=random), change) < 0.02


def test_nothing_is_tried_where_there_is_no_waiting_to_hide() -> None:
    assert not any(run(Machine(overlapped=0.005, waiting=0.04), auto(), 1000))


def test_halves_are_left_again_where_waiting_ends() -> None:
    chooser = auto()
    assert run(Machine(overlapped=0.007), chooser, 100)[-1]
    assert not any(run(Machine(overlapped=0.012, waiting=0), chooser, 100)[-50:])


def test_each_kind_of_pass_is_decided_by_itself() -> None:
    chooser = auto()
    run(Machine(overlapped=0.007), chooser, 20)
    run(Machine(overlapped=0.013), chooser, 20, shape=PREFILL)
    states = {(state.kind, state.most_rows): state for state in chooser.states()}
    assert states["decode", 8].overlapped
    assert not states["prefill", 512].overlapped
    assert (states["decode", 8].whole_ms, states["decode", 8].overlapped_ms) == (10.0, 7.0)
    assert chooser.passes[False] + chooser.passes[True] == 40
    assert chooser.trials > 6 and chooser.trial_seconds > 0


@pytest.mark.parametrize(("mode", "expected"), [(OverlapMode.ON, True), (OverlapMode.OFF, False)])
def test_a_forced_choice_is_obeyed(mode: OverlapMode, expected: bool) -> None:
    chooser = OverlapChooser(mode)
    assert set(run(Machine(overlapped=0.010 * (2 if expected else 0.5)), chooser, 100)) == {expected}
    assert (chooser.trials, chooser.trial_seconds) == (0, 0.0)


def test_a_change_needs_trials_that_nearly_all_paid() -> None:
    assert not is_proven([0.1] * 5)
    assert is_proven([-1.0] + [0.1] * 6)
    assert not is_proven([0.1] * 5 + [-0.1])
    assert is_proven([0.02] * 5 + [-9.0] + [0.02] * 5 + [-9.0])
    assert not is_proven([-9.0] + [0.02] * 5 + [-9.0] + [0.02] * 4 + [-9.0])
    assert not is_proven([0.01] * 24)


def test_passes_of_like_size_compare() -> None:
    assert class_of(PassShape(5, 1)) == class_of(PassShape(2, 4)) != class_of(PassShape(1, 8))
    assert class_of(PassShape(9, 1)) != class_of(PassShape(8, 1))
