"""Which prompt computes next, and how many rows of it. Pure; measures nothing itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SMALLEST_CHUNK: Final = 8
_GROWTH: Final = 2.0


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


class ChunkSize:
    """How many rows a chunk may have so that it takes no longer than `limit_seconds` (0: unlimited)."""

    def __init__(self, *, limit_seconds: float, most: int) -> None:
        self._limit = limit_seconds
        self._most = most
        self._rows = float(min(most, 4 * _SMALLEST_CHUNK)) if limit_seconds else float(most)

    def rows(self, *, others_wait: bool) -> int:
        """The limit protects sequences that decode; where there are none, chunks are as large as allowed."""
        return max(min(int(self._rows), self._most), 1) if others_wait else self._most

    def record(self, rows: int, seconds: float) -> None:
        """Learn from a chunk: the next one has the rows that would have taken the limit at this one's speed.

        A pass has a fixed part, so the estimate is approached step by step, at most doubling.
        """
        if self._limit and seconds > 0:
            wanted = rows * self._limit / seconds
            least = min(_SMALLEST_CHUNK, self._most)
            self._rows = max(least, min(wanted, self._rows * _GROWTH, self._most))
