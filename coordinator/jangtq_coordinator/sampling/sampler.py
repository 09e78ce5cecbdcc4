"""The tokens of one pass: from logits and each row's own state to picks. Knows no batch and no model."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.sampling.parameters import SamplingParameters, draw, likeliest


@dataclass(frozen=True)
class TokenLogprobs:
    """Log-probabilities by the model alone, before temperature, penalties, bias and cuts.

    `top` pairs the likeliest ids with theirs, likeliest first.
    """

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Pick:
    """One row's next token, or why it has none."""

    token: int
    logprobs: TokenLogprobs | None = None
    failure: Exception | None = None


class Constraint(Protocol):
    """What tokens may come next."""

    def mask(self, ahead: Sequence[int] = ()) -> NDArray[np.uint32] | None:
        """A bit for each token that may come after those `ahead`, lowest first; None allows all."""

    def forced_tokens(self) -> tuple[int, ...]:
        """The tokens that are likeliest to come, because they spell what must come."""

    def verifiable(self, draft: Sequence[int]) -> tuple[int, ...]:
        """The beginning of a draft that masks can be computed for before its tokens are taken."""

    def look_ahead(self, draft: Sequence[int]) -> None:
        """Masks for this draft are asked for next."""

    def take(self, token: int) -> None:
        """Go on by a token. What is wrong with it is raised by the next `mask`."""


class SequenceSampler:
    """One sequence's state: its random keys, its constraint, and what penalties need of its tokens."""

    def __init__(
        self,
        parameters: SamplingParameters,
        prompt: Sequence[int] = (),
        *,
        choice: int = 0,
        constraint: Constraint | None = None,
    ) -> None:
        """`choice` distinguishes the answers of one request, which share seed and prompt."""
        self.parameters = parameters
        self._constraint = constraint
        seed = int.from_bytes(os.urandom(8)) if parameters.seed is None else parameters.seed
        self._key_source = f"{seed} {choice}"
        self._prompt = frozenset(prompt) if parameters.repetition_penalty != 1 else frozenset()
        self._counts: Counter[int] = Counter()
        self._position = 0

    def forced_tokens(self) -> tuple[int, ...]:
        """Tokens that spell what must come, where something must."""
        return () if self._constraint is None else self._constraint.forced_tokens()

    def verifiable(self, draft: tuple[int, ...]) -> tuple[int, ...]:
        """As much of a draft as picks can be asked for before its tokens are taken."""
        return draft if self._constraint is None else self._constraint.verifiable(draft)

    def look_ahead(self, draft: Sequence[int]) -> None:
        """Before a pass: picks are asked for after each token of this draft."""
        if self._constraint is not None:
            self._constraint.look_ahead(draft)

    def take(self, token: int) -> None:
        """Go on by the token that was picked."""
        self._position += 1
        if self._constraint is not None:
            self._constraint.take(token)
        if self.parameters.adjusts:
            self._counts[token] += 1

    def key(self, ahead: int) -> bytes:
        """The random key, 8 bytes, of the pick after `ahead` more tokens: the same whenever it is asked."""
        return hashlib.blake2b(
            f"{self._key_source} {self._position + ahead}".encode(), digest_size=8
        ).digest()

    def mask(self, ahead: Sequence[int]) -> NDArray[np.uint32] | None:
        """The tokens that are allowed; None allows all."""
        return None if self._constraint is None else self._constraint.mask(ahead)

    def adjustments(self, ahead: Sequence[int]) -> dict[int, tuple[float, float]]:
        """Of each token whose logit changes: the repetition penalty, and what is added."""
        if not self.parameters.adjusts:
            return {}
        parameters, counts = self.parameters, self._counts + Counter(ahead)
        presence, frequency = parameters.presence_penalty, parameters.frequency_penalty
        changes = dict.fromkeys(self._prompt, (parameters.repetition_penalty, 0.0))
        for token, count in counts.items():
            changes[token] = (parameters.repetition_penalty, -presence - frequency * count)
        for token, bias in parameters.logit_bias:
            factor, added = changes.get(token, (1.0, 0.0))
            changes[token] = (factor, added + bias)
        if self._position + len(ahead) < parameters.min_tokens:
            changes |= dict.fromkeys(parameters.withheld, (1.0, -math.inf))
        return changes


@dataclass(frozen=True)
class Row:
    """A row of logits: whose it is, and the tokens that it assumes after those the sampler has taken."""

    sampler: SequenceSampler
    ahead: tuple[int, ...] = ()


def pick_tokens(logits: mx.array, rows: Sequence[Row]) -> list[Pick]:
    """One pick for each row of logits [rows, vocabulary]; takes no token. Evaluates everything once.

    Log-probabilities are computed for rows that ask for them only. A row that fails leaves the others alone.
    """
    logits = logits.astype(mx.float32)
    changes = [_changes(row) for row in rows]
    picked = _draw(_mask(_adjust(logits, changes), changes), rows)
    logprobs = _Logprobs(logits, picked, rows)
    mx.eval(logits, picked, *logprobs.arrays)
    values = logprobs.read()
    return [
        Pick(int(token), values.get(place), changes[place].failure)
        for place, token in enumerate(np.array(picked))
    ]


@dataclass(frozen=True)
class _Changes:
    """What a row changes of its logits."""

    adjustments: dict[int, tuple[float, float]] = field(default_factory=dict)
    mask: NDArray[np.uint32] | None = None
    failure: Exception | None = None


def _changes(row: Row) -> _Changes:
    try:
        return _Changes(row.sampler.adjustments(row.ahead), row.sampler.mask(row.ahead))
    except Exception as error:
        return _Changes(failure=error)


def _adjust(logits: mx.array, changes: Sequence[_Changes]) -> mx.array:
    """Penalties and biases, in one gather and one scatter of the logits they change."""
    cells = [(row, token, *by) for row, one in enumerate(changes) for token, by in one.adjustments.items()]
    if not cells:
        return logits
    at, ids, penalty, bias = (mx.array(column) for column in zip(*cells, strict=True))
    old = logits[at, ids]
    new = mx.where(old > 0, old / penalty, old * penalty) + bias
    return logits.at[at, ids].add(new - old)


def _mask(logits: mx.array, changes: Sequence[_Changes]) -> mx.array:
    masks = {row: one.mask for row, one in enumerate(changes) if one.mask is not None}
    if not masks:
        return logits
    words = mx.array(np.stack(list(masks.values())))
    bits = (words[:, :, None] >> mx.arange(32, dtype=mx.uint32)) & 1
    allowed = bits.reshape(len(masks), -1)[:, : logits.shape[-1]] == 1
    # A vocabulary may have fewer tokens than the model has logits.
    allowed = mx.pad(allowed, [(0, 0), (0, logits.shape[-1] - allowed.shape[-1])])
    return logits.at[mx.array(list(masks))].minimum(mx.where(allowed, mx.inf, -mx.inf))


def _draw(logits: mx.array, rows: Sequence[Row]) -> mx.array:
    """Token ids [rows], one operation for all rows that are cut alike."""
    random = b"".join(row.sampler.key(len(row.ahead)) for row in rows)
    keys = mx.array(np.frombuffer(random, np.uint32).reshape(len(rows), 2))
    groups: dict[SamplingParameters, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(row.sampler.parameters.cut, []).append(place)
    if len(groups) == 1:
        return draw(logits, keys, next(iter(groups)))
    drawn = [draw(logits[mx.array(places)], keys[mx.array(places)], cut) for cut, places in groups.items()]
    order = np.argsort([place for places in groups.values() for place in places])
    return mx.concatenate(drawn)[mx.array(order)]


class _Logprobs:
    """The log-probabilities of rows that request them, computed lazily until `arrays` are evaluated."""

    def __init__(self, logits: mx.array, picked: mx.array, rows: Sequence[Row]) -> None:
        wanted = [(place, row.sampler.parameters.top_logprobs) for place, row in enumerate(rows)]
        self._wanted = [(place, count) for place, count in wanted if count is not None]
        self.arrays: list[mx.array] = []
        if not self._wanted:
            return
        at = mx.array([place for place, _ in self._wanted])
        own, total = logits[at], mx.logsumexp(logits[at], axis=-1, keepdims=True)
        ids = likeliest(own, min(max(count for _, count in self._wanted), own.shape[-1]) or 1)
        tops = mx.take_along_axis(own, ids, axis=-1) - total
        self.arrays = [mx.take_along_axis(own, picked[at][:, None], axis=-1) - total, ids, tops]

    def read(self) -> dict[int, TokenLogprobs]:
        """By row; the arrays must be evaluated."""
        values = zip(*(array.tolist() for array in self.arrays), strict=True)
        return {
            place: TokenLogprobs(logprob, tuple(zip(ids, tops, strict=True))[:count])
            for (place, count), ((logprob,), ids, tops) in zip(self._wanted, values, strict=True)
        }
