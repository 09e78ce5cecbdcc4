"""Sampling against its definition in NumPy, and what generation_config.json may say."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from jangtq_coordinator.sampling import sampler as picking
from jangtq_coordinator.sampling.parameters import SamplingParameters
from jangtq_coordinator.sampling.sampler import Row, SequenceSampler, pick_tokens

DRAWS = 12
"""The likeliest of 300 tokens has less than a tenth: nobody draws it so often in a row."""


def picked(logits: NDArray[np.float32], *samplers: SequenceSampler) -> list[int]:
    """One draw for each sampler, which goes on by it."""
    picks = pick_tokens(mx.array(logits), [Row(sampler) for sampler in samplers])
    for sampler, pick in zip(samplers, picks, strict=True):
        sampler.take(pick.token)
    return [pick.token for pick in picks]


def test_draws_follow_the_probabilities() -> None:
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    logits = np.log(np.tile(probabilities, (2_000, 1))).astype(np.float32)
    samplers = [
        SequenceSampler(SamplingParameters(1.0, 0.9, 0, seed=5), choice=choice) for choice in range(2_000)
    ]
    drawn = [token for _ in range(10) for token in picked(logits, *samplers)]
    # The last token lies outside the top_p mass.
    counts = np.bincount(drawn, minlength=4) / 20_000
    np.testing.assert_allclose(counts, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0], atol=0.02)


def test_temperature_zero_takes_the_likeliest() -> None:
    greedy = SequenceSampler(SamplingParameters(temperature=0))
    assert picked(np.array([[0, 2, 1], [3, 2, 1]], np.float32), greedy, greedy) == [1, 0]


NEIGHBOURS = [
    SamplingParameters(),
    SamplingParameters(temperature=0),
    SamplingParameters(1.0, 1.0, 0, frequency_penalty=1.0, top_logprobs=3),
    SamplingParameters(0.5, 0.9, 7, logit_bias=((5, 100.0),)),
]


@settings(max_examples=30)
@given(st.permutations(range(len(NEIGHBOURS))), st.integers(-(2**70), 2**70))
def test_a_seed_gives_the_same_draws_whoever_the_neighbours_are(order: list[int], seed: int) -> None:
    logits = np.random.default_rng(1).standard_normal((1, 300)).astype(np.float32)
    parameters = SamplingParameters(1.0, 1.0, 0, seed=seed)
    alone, among = SequenceSampler(parameters), SequenceSampler(parameters)
    expected = [picked(logits, alone)[0] for _ in range(DRAWS)]
    others = [SequenceSampler(NEIGHBOURS[place]) for place in order]
    rows = np.repeat(logits, 1 + len(others), axis=0)
    place = order[0]
    samplers = [*others[:place], among, *others[place:]]
    assert [picked(rows, *samplers)[place] for _ in range(DRAWS)] == expected
    assert len(set(expected)) > 1


def test_the_answers_of_one_request_differ() -> None:
    parameters = SamplingParameters(1.0, 1.0, 0, seed=1)
    first, second = (SequenceSampler(parameters, choice=choice) for choice in range(2))
    draws = [picked(np.zeros((2, 1000), np.float32), first, second) for _ in range(3)]
    assert all(one != other for one, other in draws)


def test_picks_ahead_are_those_that_come_later() -> None:
    logits = np.random.default_rng(2).standard_normal((3, 50)).astype(np.float32)
    parameters = SamplingParameters(seed=4, frequency_penalty=2.0, repetition_penalty=1.5)
    ahead, later = SequenceSampler(parameters, [7]), SequenceSampler(parameters, [7])
    drafted = (3, 9)
    picks = pick_tokens(mx.array(logits), [Row(ahead, drafted[:count]) for count in range(3)])
    for row, pick in enumerate(picks):
        (expected,) = pick_tokens(mx.array(logits[row : row + 1]), [Row(later)])
        assert pick == expected
        later.take(drafted[row] if row < 2 else 0)


def test_penalties_and_biases_follow_their_formulas() -> None:
    logits = np.array([[2.0, -1.0, 1.0, 0.5, 0.0]], np.float32)
    sampler = SequenceSampler(
        SamplingParameters(
            presence_penalty=0.5,
            frequency_penalty=0.25,
            repetition_penalty=2.0,
            logit_bias=((0, 1.0), (4, -3.0)),
        ),
        [0, 1],
    )
    for token in (1, 1, 2):
        sampler.take(token)
    expected = [2 / 2 + 1, -1 * 2 - 0.5 - 2 * 0.25, 1 / 2 - 0.5 - 0.25, 0.5, -3]
    changes = sampler.adjustments(())
    np.testing.assert_allclose(np.array(adjusted(logits, changes)), [expected], rtol=1e-6)


def adjusted(logits: np.ndarray, changes: dict[int, tuple[float, float]]) -> mx.array:
    return picking._adjust(mx.array(logits), [picking._Changes(changes)])


def test_a_bias_can_force_or_forbid_a_token() -> None:
    logits = np.random.default_rng(3).standard_normal((1, 40)).astype(np.float32)
    likeliest = int(logits.argmax())
    forced = SequenceSampler(SamplingParameters(logit_bias=((11, 100.0),)))
    forbidden = SequenceSampler(SamplingParameters(temperature=0, logit_bias=((likeliest, -100.0),)))
    assert picked(logits, forced) == [11] and picked(logits, forbidden) != [likeliest]


def test_logprobs_are_the_models_own_and_only_given_when_asked_for() -> None:
    logits = np.random.default_rng(4).standard_normal((3, 30)).astype(np.float32)
    expected = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
    rows = [
        Row(SequenceSampler(SamplingParameters(0.2, 0.5, 3, logit_bias=((2, 100.0),), top_logprobs=count)))
        for count in (None, 0, 4)
    ]
    silent, alone, four = pick_tokens(mx.array(logits), rows)
    assert silent.logprobs is None
    assert alone.logprobs and four.logprobs and alone.logprobs.top == ()
    assert [one.token for one in (silent, alone, four)] == [2, 2, 2]
    np.testing.assert_allclose([alone.logprobs.logprob, four.logprobs.logprob], expected[1:, 2], atol=1e-5)
    order = np.argsort(-expected[2])[:4]
    assert [token for token, _ in four.logprobs.top] == list(order)
    np.testing.assert_allclose([value for _, value in four.logprobs.top], expected[2][order], atol=1e-5)


class Only:
    """A constraint to some tokens of a vocabulary of 40."""

    def __init__(self, *tokens: int) -> None:
        self._tokens = tokens

    def mask(self, ahead: Sequence[int] = ()) -> NDArray[np.uint32]:
        bits = np.zeros(64, np.uint8)
        bits[list(self._tokens)] = 1
        return np.packbits(bits, bitorder="little").view(np.uint32)

    def take(self, token: int) -> None:
        assert token in self._tokens

    def forced_tokens(self) -> tuple[int, ...]:
        return self._tokens if len(self._tokens) == 1 else ()

    def verifiable(self, draft: Sequence[int]) -> tuple[int, ...]:
        return tuple(draft[:1])

    def look_ahead(self, draft: Sequence[int]) -> None:
        pass


def test_a_constraint_holds_for_its_row_only() -> None:
    logits = np.random.default_rng(5).standard_normal((3, 70)).astype(np.float32)
    logits[:, 69] = 50
    free, low, high = (
        SequenceSampler(SamplingParameters(), constraint=c) for c in (None, Only(3), Only(39, 33))
    )
    for _ in range(5):
        tokens = picked(logits, free, low, high)
        assert tokens[:2] == [69, 3] and tokens[2] in (33, 39)
    assert free.verifiable((1, 2)) == (1, 2) and low.verifiable((1, 2)) == (1,)
    assert (free.forced_tokens(), low.forced_tokens(), high.forced_tokens()) == ((), (3,), ())
