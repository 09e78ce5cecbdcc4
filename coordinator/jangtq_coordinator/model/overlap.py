"""Decides from measured times whether passes run as two halves, one in attention while one is in experts.

Pure. It gets the time of every pass and decides the next. From time to time a trial runs the other way
between two usual passes and is compared with these two, so that a changing machine does not mislead it.
"""

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final, NamedTuple

TRIAL_SHARE: Final = 0.01
"""Trials that prove slower may cost this part of a class's time, and FIRST_TRIALS passes' time once; the last
trial may go beyond by one pass. What is beyond _DEAREST_TRIAL does not count as a trial's cost.
"""
FIRST_TRIALS: Final = 2.0
_DEAREST_TRIAL: Final = 1.0
"""Passes: either way takes at most twice the other; what is beyond has other reasons."""
_LEAST_GAIN: Final = 0.01
_LEAST_WAITING: Final = 0.05
"""Of a pass; what can be hidden is at most the time spent waiting."""
_VERDICTS: Final = {6: 0, 12: 2, 24: 7}
"""Of so many newest trials at most so many may fail to pay: one in thirty would where both ways are alike."""
_PAUSE: Final = 8
_REMEMBERED: Final = 9


class OverlapMode(StrEnum):
    """The values of `--overlap`."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class PassShape(NamedTuple):
    """`sequences` rows of a batch, `tokens` of each."""

    sequences: int
    tokens: int


class PassClass(NamedTuple):
    """Passes that compare: decoding or prefill, with up to so many rows in all, a power of two."""

    is_prefill: bool
    most_rows: int


@dataclass(frozen=True)
class OverlapState:
    """What is chosen for one class of passes, and the median milliseconds that speak for it."""

    kind: str
    most_rows: int
    overlapped: bool
    whole_ms: float | None
    overlapped_ms: float | None


@dataclass
class _PassChoice:
    """credit: how many passes' time trials may cost yet. before: seconds of the newest usual pass; tried: of
    the trial that followed it. gains: what part of a usual pass each trial saved, the newest last.
    """

    overlapped: bool
    credit: float = FIRST_TRIALS
    before: float = 0.0
    tried: float | None = None
    tries_next: bool = False
    since_trial: int = 0
    gains: deque[float] = field(default_factory=lambda: deque(maxlen=max(_VERDICTS)))
    seconds: dict[bool, deque[float]] = field(
        default_factory=lambda: {way: deque(maxlen=_REMEMBERED) for way in (False, True)}
    )


def is_proven(gains: Sequence[float]) -> bool:
    """Whether to change over: nearly all of the newest trials, which come last, were worth it."""
    return any(
        len(gains) >= newest and sum(gain <= _LEAST_GAIN for gain in islice(reversed(gains), newest)) <= most
        for newest, most in _VERDICTS.items()
    )


class OverlapChooser:
    """Used by the engine thread; `states` and the counts may be read by any.

    trials: passes that ran the other way; trial_seconds: how much longer they took than those beside them.
    """

    def __init__(self, mode: OverlapMode) -> None:
        self.mode = mode
        self.passes = {False: 0, True: 0}
        self.trials = 0
        self.trial_seconds = 0.0
        self._choices: dict[PassClass, _PassChoice] = {}

    def choose(self, shape: PassShape) -> bool:
        """Whether the next pass of this shape, one that can be halved, is to be."""
        choice = self._choice(shape)
        return choice.overlapped != choice.tries_next

    def record(self, shape: PassShape, *, overlapped: bool, seconds: float, waiting: float) -> None:
        """What a pass took, and how many seconds of it the coordinator had nothing to do but wait."""
        self.passes[overlapped] += 1
        choice = self._choice(shape)
        choice.seconds[overlapped].append(seconds)
        if self.mode is not OverlapMode.AUTO:
            return
        if overlapped != choice.overlapped:
            choice.tried, choice.tries_next, choice.since_trial = seconds, False, 0
            return
        if choice.tried is not None:
            self._judge(choice, choice.tried, (choice.before + seconds) / 2)
        if overlapped == choice.overlapped:
            choice.before = seconds
            choice.since_trial += 1
            choice.credit = min(choice.credit + TRIAL_SHARE, FIRST_TRIALS)
            choice.tries_next = _is_trial_due(choice) and (overlapped or waiting >= _LEAST_WAITING * seconds)

    def states(self) -> tuple[OverlapState, ...]:
        """One for every class of passes that there were."""
        return tuple(_state(key, choice) for key, choice in sorted(self._choices.copy().items()))

    def _judge(self, choice: _PassChoice, tried: float, beside: float) -> None:
        """A trial between two usual passes, of which `beside` is the mean."""
        gain = 1 - tried / beside
        lost = min(max(-gain, 0.0), _DEAREST_TRIAL)
        choice.tried = None
        choice.credit -= lost
        choice.gains.append(gain)
        self.trials += 1
        self.trial_seconds += lost * beside
        if is_proven(choice.gains):
            choice.overlapped = not choice.overlapped
            choice.gains.clear()
            choice.since_trial = 0

    def _choice(self, shape: PassShape) -> _PassChoice:
        return self._choices.setdefault(class_of(shape), _PassChoice(self.mode is OverlapMode.ON))


def _is_trial_due(choice: _PassChoice) -> bool:
    """The first trials, and one after a trial that paid, follow at once; none while credit is used up."""
    gains = choice.gains
    hurried = len(gains) < min(_VERDICTS) or gains[-1] > _LEAST_GAIN
    return choice.credit > 0 and choice.since_trial >= (1 if hurried else _PAUSE)


def class_of(shape: PassShape) -> PassClass:
    """Decoding takes one token, or a few with drafts, of every sequence; a prefill many of one."""
    is_prefill = shape.sequences == 1 and shape.tokens > 1
    return PassClass(is_prefill, 1 << (shape.sequences * shape.tokens - 1).bit_length())


def _state(key: PassClass, choice: _PassChoice) -> OverlapState:
    whole, overlapped = (
        statistics.median(choice.seconds[way]) * 1000 if choice.seconds[way] else None
        for way in (False, True)
    )
    kind = "prefill" if key.is_prefill else "decode"
    return OverlapState(kind, key.most_rows, choice.overlapped, whole, overlapped)
