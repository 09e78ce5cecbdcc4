"""Guesses the next tokens from what the sequence says already: prompt lookup. Pure; knows no model."""

from collections.abc import Sequence
from typing import Final

NGRAM: Final = 3


class Drafter:
    """Remembers where each run of three tokens stood last, and what came after it."""

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """The sequence goes on."""
        for token in tokens:
            if len(self._tokens) >= NGRAM:
                self._after[tuple(self._tokens[-NGRAM:])] = len(self._tokens)
            self._tokens.append(token)

    def draft(self, most: int) -> tuple[int, ...]:
        """What followed the last three tokens where they stood before: `most` tokens or fewer, often none."""
        start = self._after.get(tuple(self._tokens[-NGRAM:]))
        return () if start is None or most < 1 else tuple(self._tokens[start : start + most])
