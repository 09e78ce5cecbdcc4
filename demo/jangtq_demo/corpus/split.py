"""Which questions the model learns from and which are kept apart. Decided by a checksum, so it never changes."""

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

Drawn = TypeVar("Drawn")

_HELD_OUT_SHARE: Final = 16
"""One key in so many is held out."""


class Split(Enum):
    """Questions to learn from, and questions to be measured by."""

    TRAINING = "training"
    HELD_OUT = "held-out"


def is_held_out(key: str) -> bool:
    return zlib.crc32(key.encode()) % _HELD_OUT_SHARE == 0


def draw(split: Split, make: Callable[[], Drawn], *, key: Callable[[Drawn], str]) -> Drawn:
    """The first of what `make` draws whose key lies in `split`."""
    while is_held_out(key(drawn := make())) != (split is Split.HELD_OUT):
        pass
    return drawn


def pick(rng: random.Random, split: Split, words: Sequence[str]) -> str:
    """One of the words that belong to the split."""
    return draw(split, lambda: rng.choice(words), key=str)


@dataclass(frozen=True)
class Phrases:
    """Ways to ask the same; those of `held_out` are never trained."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]

    def pick(self, rng: random.Random, split: Split) -> str:
        """For questions held out by what is asked: half of them are worded in an unseen way, too."""
        unseen = split is Split.HELD_OUT and rng.random() < 0.5
        return rng.choice(self.held_out if unseen else self.training)

    def pick_unseen(self, rng: random.Random, split: Split) -> str:
        """For questions held out by their wording alone."""
        return rng.choice(self.held_out if split is Split.HELD_OUT else self.training)
