"""Conversations as token ids, with every round learnt under all that came before it. Knows no batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from jangtq_demo.corpus.conversation import Conversation, render_branches

UNTRAINED: Final = -100


@dataclass(frozen=True)
class Example:
    """Token ids of a conversation; targets are the following token where it is trained, else UNTRAINED.

    branches: as segments number them; positions: a branch goes on from where it leaves branch 0.
    """

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    branches: NDArray[np.int64]
    positions: NDArray[np.int64]

    @classmethod
    def of_line(cls, tokens: NDArray[np.int64]) -> "Example":
        """Without branches, and nothing to learn."""
        return cls(tokens, np.full_like(tokens, UNTRAINED), np.zeros_like(tokens), np.arange(len(tokens)))


@dataclass(frozen=True)
class _Branch:
    """A round as the model writes it; it leaves the common line before position `start`."""

    start: int
    tokens: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    def add(self, ids: Sequence[int], *, trained: bool) -> None:
        """What comes before a trained token predicts it."""
        if self.targets and trained:
            self.targets[-1] = ids[0]
        self.tokens.extend(ids)
        self.targets.extend([*ids[1:], UNTRAINED] if trained else [UNTRAINED] * len(ids))

    def trim(self) -> "_Branch":
        """Without the end that predicts nothing."""
        length = max((i for i, target in enumerate(self.targets, 1) if target != UNTRAINED), default=0)
        return _Branch(self.start, self.tokens[:length], self.targets[:length])


def encode_example(tokenizer: Tokenizer, conversation: Conversation, *, most: int) -> Example:
    """Of one that does not fit in `most` tokens the first rounds stay, and of their branches the last.

    The first round stays whatever its length.
    """
    line, branches = _encode(tokenizer, conversation)
    fitting = list(takewhile(lambda branch: branch.end <= most, branches)) or branches[:1]
    return _join(line, _last_that_fit(fitting, most))


def _encode(tokenizer: Tokenizer, conversation: Conversation) -> tuple[list[int], list[_Branch]]:
    line: list[int] = []
    branches: list[_Branch] = []
    for segment in render_branches(conversation):
        ids = tokenizer.encode(segment.text, add_special_tokens=False).ids
        if not segment.branch:
            line += ids
            continue
        if segment.branch > len(branches):
            branches.append(_Branch(len(line)))
        branches[-1].add(ids, trained=segment.trained)
    return line, [branch.trim() for branch in branches]


def _last_that_fit(branches: Sequence[_Branch], most: int) -> list[_Branch]:
    """As many of the last branches as fit beside the line that leads to the very last."""
    ends = accumulate((len(branch.tokens) for branch in reversed(branches)), initial=branches[-1].start)
    count = sum(end <= most for end in ends) - 1
    return list(branches[-max(1, count) :])


def _join(line: Sequence[int], branches: Sequence[_Branch]) -> Example:
    """Each branch right behind what it goes on from."""
    parts = list(_parts(line, branches))
    return Example(*(np.concatenate(arrays).astype(np.int64) for arrays in zip(*parts, strict=True)))


def _parts(line: Sequence[int], branches: Sequence[_Branch]) -> Iterator[tuple[Sequence[int], ...]]:
    """Tokens, targets, branches and positions of one stretch after another."""
    start = 0
    for number, branch in enumerate(branches, 1):
        stretch = line[start : branch.start]
        count = len(stretch)
        yield stretch, [UNTRAINED] * count, [0] * count, range(start, branch.start)
        yield branch.tokens, branch.targets, [number] * len(branch.tokens), range(branch.start, branch.end)
        start = branch.start
