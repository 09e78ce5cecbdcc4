"""Which prompt computes next. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class PromptTurn:
    """A prompt's claim on the next chunk. `waited` counts rows computed for others since its last chunk."""

    uid: int
    remaining: int
    waited: int = 0


def next_turn(turns: Sequence[PromptTurn]) -> PromptTurn:
    """The shortest remainder first; every row computed for others makes a prompt seem one row shorter.

    So a short prompt waits for no long one, and a long one waits for at most as many rows as it has.
    """
    return min(turns, key=lambda turn: turn.remaining - turn.waited)
