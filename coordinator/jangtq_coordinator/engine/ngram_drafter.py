"""Drafts the next tokens from earlier text of the sequence (prompt lookup). Pure; knows no model."""

import itertools
from collections.abc import Sequence
from typing import Final

NGRAM: Final = 3


class NgramDrafter:
    """Remembers the last position of each run of three tokens."""

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens of the sequence."""
        for token in tokens:
            if len(self._tokens) >= NGRAM:
                self._after[tuple(self._tokens[-NGRAM:])] = len(self._tokens)
            self._tokens.append(token)

    def draft(self, most: int) -> tuple[int, ...]:
        """Up to `most` tokens that followed the last three at their earlier position; none without one.

        Past the end of the sequence the draft continues with its own tokens.
        """
        start = self._after.get(tuple(self._tokens[-NGRAM:]))
        if start is None or most < 1:
            return ()
        period = self._tokens[start : start + most]
        return tuple(itertools.islice(itertools.cycle(period), most))
