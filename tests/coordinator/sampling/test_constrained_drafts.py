"""Guesses under a grammar: what it forces, what repeats, and that no answer changes by them."""

import random

import numpy as np
import pytest

from jangtq_coordinator.engine.engine_config import Speculation
from jangtq_coordinator.engine.scheduler import Scheduler
from jangtq_coordinator.sampling.grammar import GrammarConstraint, Grammars
from jangtq_coordinator.sampling.parameters import SamplingParameters
from jangtq_coordinator.sampling.sampler import SequenceSampler
from jangtq_coordinator.sampling.tool_grammar import answer_grammar
from tests.coordinator.engine.test_speculator import HalfRight
from tests.coordinator.sampling.test_grammar import (
    END,
    POINT,
    TOKENIZER,
    WEATHER,
    allowed,
    grammars,
    ids_of,
    new_constraint,
    say,
)
from tests.support.small_generators import new_generator, run_to_end
from tests.support.tiny_model import ProbedModel

__all__ = ["grammars"]

FORCED_CALL = answer_grammar(None, {"weather": WEATHER}, several=False)
GRAMMARS = [answer_grammar(POINT, {}), FORCED_CALL, answer_grammar({"enum": ["one", "another"]}, {})]
PROMPTS = [[9 + uid] * 6 for uid in range(len(GRAMMARS))]
SAMPLINGS = [SamplingParameters(temperature=0), SamplingParameters(temperature=0.9, seed=7)]


def same(mask: object, other: object) -> bool:
    return mask is other or np.array_equal(np.asarray(mask), np.asarray(other))


@pytest.mark.parametrize("grammar", GRAMMARS)
@pytest.mark.parametrize("seed", range(3))
def test_masks_ahead_are_those_of_one_token_after_the_other(
    grammars: Grammars, grammar: str, seed: int
) -> None:
    dice = random.Random(seed)
    plain, foreseeing = (new_constraint(grammars, grammar) for _ in range(2))
    for _ in range(40):
        draft: list[int] = []
        foreseeing.look_ahead(drafted := drafts_of(foreseeing, dice))
        for token in (*drafted, None):
            mask = plain.mask()
            assert same(foreseeing.mask(drafted[: len(draft)]), mask)
            right = allowed(plain)
            picked = token if token in right and dice.random() < 0.8 else dice.choice(right)
            if picked == END:
                return
            plain.take(picked)
            draft.append(picked)
            if picked != token:
                break
        for token in draft:
            foreseeing.take(token)


def drafts_of(constraint: GrammarConstraint, dice: random.Random) -> tuple[int, ...]:
    """Forced tokens where there are some, and then or else nonsense, which no mask may mind."""
    nonsense = [dice.randrange(300) for _ in range(dice.randrange(4))]
    return (*constraint.forced_tokens(), *nonsense, END)


def test_a_call_that_must_come_is_spelled_ahead(grammars: Grammars) -> None:
    constraint = new_constraint(grammars, FORCED_CALL)
    say(constraint, "\n<minimax:tool_call>\n<inv")
    assert TOKENIZER.decode(constraint.forced_tokens()).startswith(
        'oke name="weather">\n<parameter name="city">'
    )


def test_reasoning_is_guessed_up_to_the_mark_that_ends_it(grammars: Grammars) -> None:
    constraint = new_constraint(grammars, answer_grammar(POINT, {}), waits=["</think>"])
    say(constraint, "Let me </thi")
    draft = ids_of('nk>{"x"')
    cut = constraint.verifiable(draft)
    assert TOKENIZER.decode(cut) == "nk" and constraint.forced_tokens() == ()
    constraint.look_ahead(cut)
    assert [constraint.mask(cut[:count]) for count in range(3)] == [None] * 3
    say(constraint, "nk>")
    assert constraint.mask() is not None and constraint.verifiable(draft) == tuple(draft)


def answers_of(generator: Scheduler, grammars: Grammars, sampling: SamplingParameters) -> list[list[int]]:
    for prompt, grammar in zip(PROMPTS, GRAMMARS, strict=True):
        sampler = SequenceSampler(sampling, prompt, constraint=new_constraint(grammars, grammar))
        generator.add(prompt, max_tokens=60, sampler=sampler)
    steps = run_to_end(generator)
    assert not any(step.failure for one in steps.values() for step in one)
    return [[step.token for step in steps[uid]] for uid in range(len(GRAMMARS))]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_constrained_answers_are_those_of_plain_decoding(
    grammars: Grammars, sampling: SamplingParameters, batch_size: int
) -> None:
    stops = frozenset({END})
    plain = new_generator(ProbedModel(), stop_tokens=stops, batch_size=batch_size)
    answers = answers_of(plain, grammars, sampling)
    guessing = new_generator(
        ProbedModel(), stop_tokens=stops, batch_size=batch_size, speculation=Speculation.ON
    )
    assert answers_of(guessing, grammars, sampling) == answers
    assert guessing.counters.accepted_tokens > 20
    assert guessing.counters.decode_passes < plain.counters.decode_passes
    prophet = new_generator(ProbedModel(), stop_tokens=stops, batch_size=batch_size)
    prophet._speculator = HalfRight(answers, PROMPTS)  # type: ignore[assignment]
    assert answers_of(prophet, grammars, sampling) == answers
    assert 0 < prophet.counters.accepted_tokens < prophet.counters.drafted_tokens
