"""Which prompt computes next. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class PromptTurn:
    """A prompt's claim on the next chunk. `waited` counts rows of other prompts since its last chunk."""

    uid: int
    remaining: int
    waited: int = 0


def next_turn(turns: Sequence[PromptTurn]) -> PromptTurn:
    """The shortest remainder first; each row computed for other prompts makes a prompt count one row shorter.

    A short prompt never waits for a long one, and a long one waits for at most as many rows as it has.
    """
    return min(turns, key=lambda turn: turn.remaining - turn.waited)
