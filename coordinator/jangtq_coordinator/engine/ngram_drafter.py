"""Guesses the next tokens from what the sequence says already: prompt lookup. Pure; knows no model."""

import itertools
from collections.abc import Sequence
from typing import Final

NGRAM: Final = 3


class NgramDrafter:
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
        """`most` tokens as they followed the last three where these stood before; none where they never did.

        What followed reaches the end sooner or later, and goes on into the draft itself.
        """
        start = self._after.get(tuple(self._tokens[-NGRAM:]))
        if start is None or most < 1:
            return ()
        period = self._tokens[start : start + most]
        return tuple(itertools.islice(itertools.cycle(period), most))
