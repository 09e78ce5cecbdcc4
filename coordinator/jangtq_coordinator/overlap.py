"""Decides from measured times whether passes run as two halves, one in attention while one is in experts.

Pure: told the time of every pass, asked before the next. Halves hide waiting, but cost twice the fixed part
of attention and exchange, so that only a trial tells which is faster.
"""

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

_LEAST_GAIN: Final = 0.05
_LEAST_WAITING: Final = 0.1
"""Of a pass; what can be hidden is at most the time spent waiting."""
_TRIAL_PASSES: Final = 5
_FIRST_PAUSE: Final = 16
_LONGEST_PAUSE: Final = 4096


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
class _Choice:
    overlapped: bool = False
    seconds: dict[bool, deque[float]] = field(
        default_factory=lambda: {way: deque(maxlen=_TRIAL_PASSES) for way in (False, True)}
    )
    pause: int = _FIRST_PAUSE
    until_trial: int = _TRIAL_PASSES
    trial_left: int = 0


def is_better(other: Sequence[float], current: Sequence[float]) -> bool:
    """Whether to change over: the median gain must be worth it, so that noise alone changes nothing."""
    return statistics.median(other) < (1 - _LEAST_GAIN) * statistics.median(current)


class OverlapChooser:
    """Used by the engine thread; `states` and the counts may be read by any."""

    def __init__(self, mode: OverlapMode) -> None:
        self.mode = mode
        self.passes = {False: 0, True: 0}
        self._choices: dict[PassClass, _Choice] = {}

    def choose(self, shape: PassShape) -> bool:
        """Whether the next pass of this shape, one that can be halved, is to be."""
        choice = self._choice(shape)
        return choice.overlapped != (choice.trial_left > 0)

    def record(self, shape: PassShape, *, overlapped: bool, seconds: float, waiting: float) -> None:
        """What a pass took, and how many seconds of it the coordinator had nothing to do but wait."""
        self.passes[overlapped] += 1
        choice = self._choice(shape)
        choice.seconds[overlapped].append(seconds)
        if self.mode is not OverlapMode.AUTO:
            return
        if choice.trial_left:
            choice.trial_left -= 1
            if choice.trial_left == 0:
                _conclude(choice)
            return
        choice.until_trial -= 1
        if choice.until_trial <= 0 and (choice.overlapped or waiting >= _LEAST_WAITING * seconds):
            choice.trial_left = _TRIAL_PASSES

    def states(self) -> tuple[OverlapState, ...]:
        """One for every class of passes that there were."""
        return tuple(_state(key, choice) for key, choice in sorted(self._choices.copy().items()))

    def _choice(self, shape: PassShape) -> _Choice:
        return self._choices.setdefault(class_of(shape), _Choice(self.mode is OverlapMode.ON))


def class_of(shape: PassShape) -> PassClass:
    """Decoding takes one token, or a few with drafts, of every sequence; a prefill many of one."""
    is_prefill = shape.sequences == 1 and shape.tokens > 1
    return PassClass(is_prefill, 1 << (shape.sequences * shape.tokens - 1).bit_length())


def _conclude(choice: _Choice) -> None:
    """Each trial that changes nothing makes the next one rarer."""
    if is_better(choice.seconds[not choice.overlapped], choice.seconds[choice.overlapped]):
        choice.overlapped = not choice.overlapped
        choice.pause = _FIRST_PAUSE
    else:
        choice.pause = min(2 * choice.pause, _LONGEST_PAUSE)
    choice.until_trial = choice.pause


def _state(key: PassClass, choice: _Choice) -> OverlapState:
    whole, overlapped = (
        statistics.median(choice.seconds[way]) * 1000 if choice.seconds[way] else None
        for way in (False, True)
    )
    kind = "prefill" if key.is_prefill else "decode"
    return OverlapState(kind, key.most_rows, choice.overlapped, whole, overlapped)
