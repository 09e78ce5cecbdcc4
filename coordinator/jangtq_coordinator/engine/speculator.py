"""Whether and how far to draft tokens, by what drafts gained and cost so far. Pure."""

from collections.abc import Callable, Sequence
from typing import Final

from jangtq_coordinator.engine.engine_config import Speculation
from jangtq_coordinator.engine.ngram_drafter import NgramDrafter
from jangtq_coordinator.engine.pass_cost import PassCost
from jangtq_coordinator.engine.sequence import TokenSequence

MAX_DRAFT: Final = 8
_MEMORY: Final = 0.9
_RECOVERY: Final = 0.98
_MOST_NEW: Final = 4096
"""The drafter indexes a long prompt in parts, one a pass, so that no pass waits for all of it."""
_GAIN: Final = 1.05
"""Estimates are noisy: drafts must promise this many times the tokens a second."""


class Trust:
    """How often drafted tokens of one kind were right."""

    def __init__(self) -> None:
        self._right = self._tried = 0.0

    @property
    def chance(self) -> float:
        """The chance that a drafted token is right when all before it are."""
        return (self._right + 1) / (self._tried + 2)

    def record(self, *, guessed: int, right: int) -> None:
        """Add one draft: tokens after the first wrong one do not count.

        An empty draft restores some trust.
        """
        memory = _MEMORY if guessed else _RECOVERY
        self._right = self._right * memory + right
        self._tried = self._tried * memory + min(guessed, right + 1)


class Guesses:
    """Drafts of one sequence: tokens that its grammar forces, else what followed the same text before."""

    def __init__(self) -> None:
        self._drafter = NgramDrafter()
        self._seen = 0
        self._forced, self._repeated = Trust(), Trust()
        self.trust = self._repeated
        """The trust in the kind of the last draft."""

    def draft(self, sequence: TokenSequence) -> tuple[int, ...]:
        """A continuation of a sequence; its tokens may only grow between calls."""
        most = min(MAX_DRAFT, sequence.limit - len(sequence.tokens) - 1)
        if forced := sequence.sampler.forced_tokens():
            self.trust = self._forced
            return forced[:most]
        self.trust = self._repeated
        new = sequence.tokens[self._seen : self._seen + _MOST_NEW]
        self._drafter.extend(new)
        self._seen += len(new)
        if self._seen < len(sequence.tokens):
            return ()
        return sequence.sampler.verifiable(self._drafter.draft(most))


def best_depth(drafts: Sequence[int], chances: Sequence[float], seconds: Callable[[int], float]) -> int:
    """The number of drafted tokens a row that gives the most tokens a second; 0 where none gains.

    drafts, chances: the length of each row's draft, and the chance of each of its tokens. `seconds` gives
    the cost of a pass by its rows; every row is as wide as the widest.
    """
    rates = []
    for depth in range(max(drafts, default=0) + 1):
        tokens = sum(
            sum(chance**i for i in range(min(depth, length) + 1))
            for length, chance in zip(drafts, chances, strict=True)
        )
        rates.append(tokens / max(seconds(len(drafts) * (1 + depth)), 1e-9))
    best = max(range(len(rates)), key=rates.__getitem__)
    return best if rates[best] > rates[0] * _GAIN else 0


class Speculator:
    """Drafts for the sequences of each pass."""

    def __init__(self, mode: Speculation) -> None:
        self._mode = mode
        self._cost = PassCost()
        self._guesses: dict[int, Guesses] = {}
        self._has_guessed = False

    def drafts(self, sequences: Sequence[TokenSequence]) -> list[tuple[int, ...]]:
        """A draft for each sequence; all empty where drafts do not pay."""
        modes = [self._mode_of(sequence) for sequence in sequences]
        drafts = [
            () if mode is Speculation.OFF else self._guesses_of(sequence).draft(sequence)
            for sequence, mode in zip(sequences, modes, strict=True)
        ]
        if Speculation.AUTO not in modes:
            return drafts
        # Every row is as wide as the widest: where one sequence has a forced draft, drafts of others are
        # free.
        wanted = [len(draft) for draft, mode in zip(drafts, modes, strict=True) if mode is Speculation.ON]
        depth = max(self._depth(sequences, drafts), *wanted, 0)
        self._has_guessed = depth > 0
        for sequence, draft in zip(sequences, drafts, strict=True):
            if draft and depth == 0:
                self._guesses_of(sequence).trust.record(guessed=0, right=0)
        return [draft[:depth] for draft in drafts]

    def record(self, uid: int, *, guessed: int, right: int) -> None:
        """Add the outcome of a sequence's draft."""
        if guessed:
            self._guesses[uid].trust.record(guessed=guessed, right=right)

    def record_pass(self, rows: int, seconds: float) -> None:
        """Add the time of a pass."""
        self._cost.record(rows, seconds)

    def forget(self, uid: int) -> None:
        """Remove a sequence that ended."""
        self._guesses.pop(uid, None)

    def _depth(self, sequences: Sequence[TokenSequence], drafts: Sequence[tuple[int, ...]]) -> int:
        lengths = [len(draft) for draft in drafts]
        if not self._cost.has_varied:
            # The cost of drafts is learned from passes with and without them, in turn.
            return 0 if self._has_guessed else max(lengths, default=0)
        chances = [self._guesses_of(sequence).trust.chance for sequence in sequences]
        return best_depth(lengths, chances, self._cost.seconds)

    def _mode_of(self, sequence: TokenSequence) -> Speculation:
        if self._mode is Speculation.OFF:
            return self._mode
        return sequence.speculation or self._mode

    def _guesses_of(self, sequence: TokenSequence) -> Guesses:
        return self._guesses.setdefault(sequence.uid, Guesses())
