"""Guessing ahead: the drafter, when it pays, and that answers never change by it."""

import random
from collections.abc import Sequence

import pytest

from jangtq_coordinator.engine.engine_config import Speculation
from jangtq_coordinator.engine.scheduler import Scheduler
from jangtq_coordinator.engine.sequence import TokenSequence
from jangtq_coordinator.engine.speculator import MAX_DRAFT, Speculator, Trust, best_depth
from jangtq_coordinator.sampling.parameters import SamplingParameters
from jangtq_coordinator.sampling.sampler import SequenceSampler
from tests.support.running_engine import collect, request, running_engine, stock_tokens, text_of, tokens_of
from tests.support.small_generators import new_generator, run_to_end
from tests.support.tiny_model import ProbedModel

REPEATING = [(5 * i) % 7 for i in range(60)]


@pytest.mark.parametrize(
    ("drafts", "chances", "row_seconds", "depth"),
    [
        # A pass of any size costs the same: as far as there are drafts.
        ([8], [0.5], 0.0, 8),
        # Each row costs as much as a pass: never.
        ([8], [0.9], 1.0, 0),
        # Nothing to guess.
        ([0, 0], [0.9, 0.9], 0.0, 0),
        # One sequence that repeats itself does not pay for seven that do not.
        ([8] + [0] * 7, [0.9] * 8, 0.1, 0),
        ([8] * 8, [0.9] * 8, 0.2, 2),
    ],
)
def test_guessing_goes_as_far_as_it_pays(
    drafts: list[int], chances: list[float], row_seconds: float, depth: int
) -> None:
    fixed = 1.0 if row_seconds < 1 else 0.0
    assert best_depth(drafts, chances, lambda rows: fixed + row_seconds * rows) == depth


def test_trust_is_lost_by_wrong_guesses_and_comes_back_slowly() -> None:
    trust = Trust()
    assert trust.chance == 0.5
    for _ in range(20):
        trust.record(guessed=4, right=0)
    assert trust.chance < 0.1
    for _ in range(200):
        trust.record(guessed=0, right=0)
    assert trust.chance > 0.4
    for _ in range(20):
        trust.record(guessed=4, right=4)
    assert trust.chance > 0.9


def test_automatic_guessing_stops_where_nothing_is_ever_right() -> None:
    speculator = Speculator(Speculation.AUTO)
    sequence = TokenSequence(0, REPEATING, max_tokens=1000, sampler=SequenceSampler(SamplingParameters()))
    guessed = 0
    for _ in range(100):
        (draft,) = speculator.drafts([sequence])
        guessed += len(draft)
        speculator.record(0, guessed=len(draft), right=0)
        speculator.record_pass(1 + len(draft), 1.0 + 0.2 * len(draft))
        sequence.tokens.append(REPEATING[len(sequence.tokens) % 7])
    assert 0 < guessed < 60


PROMPTS = [REPEATING, [*range(40), *range(40), 1, 2, 3], [9, 8], [7, 7, 7, 7, 7, 7]]


SAMPLINGS = [
    SamplingParameters(temperature=0),
    SamplingParameters(seed=4),
    SamplingParameters(temperature=0.7, seed=5, repetition_penalty=1.2, frequency_penalty=0.4),
]


def answers_of(generator: Scheduler, parameters: SamplingParameters) -> list[list[int]]:
    for choice, prompt in enumerate(PROMPTS):
        sampler = SequenceSampler(parameters, prompt, choice=choice)
        generator.add(prompt, max_tokens=40 + choice, sampler=sampler)
    steps = run_to_end(generator)
    assert [steps[uid][-1].finish_reason for uid in range(4)] == ["length"] * 4
    return [[step.token for step in steps[uid]] for uid in range(4)]


class HalfRight:
    """Guesses some of the tokens that will come, then others: what no drafter would ever know."""

    def __init__(
        self, answers: Sequence[Sequence[int]], prompts: Sequence[Sequence[int]] = tuple(PROMPTS)
    ) -> None:
        self._whole = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        self._random = random.Random(3)

    def drafts(self, sequences: Sequence[TokenSequence]) -> list[tuple[int, ...]]:
        return [self._draft(sequence) for sequence in sequences]

    def _draft(self, sequence: TokenSequence) -> tuple[int, ...]:
        start, wrong = len(sequence.tokens), self._random.randrange(5)
        right = self._whole[sequence.uid][start : start + self._random.randrange(5)]
        return tuple(right + [7] * wrong)[: sequence.limit - start - 1]

    def record(self, *args: object, **kwargs: object) -> None: ...
    def record_pass(self, *args: object) -> None: ...
    def forget(self, uid: int) -> None: ...


@pytest.mark.parametrize("parameters", SAMPLINGS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_answers_are_those_of_plain_decoding(parameters: SamplingParameters, batch_size: int) -> None:
    plain = new_generator(ProbedModel(), batch_size=batch_size)
    answers = answers_of(plain, parameters)
    guessing = new_generator(ProbedModel(), batch_size=batch_size)
    guessing._speculator = HalfRight(answers)  # type: ignore[assignment]
    assert answers_of(guessing, parameters) == answers
    counters = guessing.counters
    assert 0 < counters.accepted_tokens < counters.drafted_tokens
    assert counters.decode_passes < plain.counters.decode_passes
    if batch_size == 1:
        assert counters.decode_passes == plain.counters.decode_passes - counters.accepted_tokens


@pytest.mark.parametrize("mode", [Speculation.ON, Speculation.AUTO])
def test_prompt_lookup_changes_no_answer(mode: Speculation) -> None:
    parameters = SamplingParameters(temperature=0)
    answers = answers_of(new_generator(ProbedModel()), parameters)
    generator = new_generator(ProbedModel(), speculation=mode)
    assert answers_of(generator, parameters) == answers and generator.counters.drafted_tokens > 0


def sequence_of(uid: int, speculation: Speculation | None) -> TokenSequence:
    sampler = SequenceSampler(SamplingParameters())
    return TokenSequence(uid, REPEATING, max_tokens=99, sampler=sampler, speculation=speculation)


OFF, ON, AUTO = Speculation.OFF, Speculation.ON, Speculation.AUTO


@pytest.mark.parametrize(
    ("server", "wishes", "guessed"),
    [
        (OFF, [None, ON, AUTO, OFF], [0, 0, 0, 0]),
        (ON, [None, ON, OFF], [8, 8, 0]),
        (ON, [AUTO, OFF], [0, 0]),
        (AUTO, [None, AUTO, OFF], [0, 0, 0]),
        # The pass is as wide as the widest row's draft, whoever else guesses.
        (AUTO, [None, ON, OFF], [8, 8, 0]),
    ],
)
def test_requests_may_wish_otherwise_where_the_server_guesses_at_all(
    server: Speculation, wishes: list[Speculation | None], guessed: list[int]
) -> None:
    """On a machine where each row costs as much as a pass, so that guessing by itself never pays."""
    speculator = Speculator(server)
    for rows in (1, 2, 4, 8):
        speculator.record_pass(rows, float(rows))
    drafts = speculator.drafts([sequence_of(uid, wish) for uid, wish in enumerate(wishes)])
    assert [len(draft) for draft in drafts] == guessed


def test_right_guesses_save_passes() -> None:
    """The tiny model soon repeats itself: then a pass brings several tokens."""
    generator = new_generator(ProbedModel(), speculation=Speculation.ON)
    generator.add(PROMPTS[3], max_tokens=200, sampler=SequenceSampler(SamplingParameters(temperature=0)))
    (steps,) = run_to_end(generator).values()
    assert [step.token for step in steps] == stock_tokens(PROMPTS[3], 200)
    assert generator.counters.accepted_tokens > 0
    assert generator.counters.decode_passes == 199 - generator.counters.accepted_tokens


def test_a_draft_never_goes_beyond_the_limit_or_a_stop_token() -> None:
    plain = stock_tokens(PROMPTS[3], 60)
    for max_tokens in range(1, 30):
        generator = new_generator(ProbedModel(), speculation=Speculation.ON)
        generator.add(
            PROMPTS[3], max_tokens=max_tokens, sampler=SequenceSampler(SamplingParameters(temperature=0))
        )
        (steps,) = run_to_end(generator).values()
        assert [step.token for step in steps] == plain[:max_tokens]
    stop = plain[20]
    generator = new_generator(ProbedModel(), speculation=Speculation.ON, stop_tokens=frozenset({stop}))
    generator.add(PROMPTS[3], max_tokens=60, sampler=SequenceSampler(SamplingParameters(temperature=0)))
    (steps,) = run_to_end(generator).values()
    assert [step.token for step in steps] == plain[: plain.index(stop) + 1]
    assert steps[-1].finish_reason == "stop"


def test_a_failed_pass_with_guesses_can_be_repeated() -> None:
    model = ProbedModel()
    generator = new_generator(model, speculation=Speculation.ON)
    generator.add(PROMPTS[3], max_tokens=80, sampler=SequenceSampler(SamplingParameters(temperature=0)))
    tokens: list[int] = []
    while generator.waiting or generator.prefilling or generator.decoding:
        model.failures.append(RuntimeError("lost"))
        with pytest.raises(RuntimeError, match="lost"):
            generator.decode()
            generator.prefill()
        steps = generator.decode() + [step.first for step in generator.prefill() if step.first]
        tokens += [step.token for step in steps]
    assert tokens == stock_tokens(PROMPTS[3], 80)
    assert generator.counters.accepted_tokens > 0


async def test_the_engine_guesses_and_tells_the_same_text() -> None:
    prompt = tuple(PROMPTS[3])
    with running_engine() as (engine, _):
        plain = await collect(engine.submit(request(prompt, max_tokens=120)))
    stop = text_of(plain)[40:43]
    with running_engine(speculation=Speculation.ON) as (engine, model):
        guessed = await collect(engine.submit(request(prompt, max_tokens=120)))
        stopped = await collect(engine.submit(request(prompt, max_tokens=120, stops=(stop,))))
        assert engine.running == 0 and engine.counters.accepted_tokens > 0
        assert max(length for _, length in model.passes) <= max(1 + MAX_DRAFT, len(prompt))
    assert tokens_of(guessed) == tokens_of(plain) and guessed[-1] == plain[-1]
    assert text_of(stopped) == text_of(plain)[: text_of(plain).index(stop)]


def test_a_long_prompt_is_read_in_parts_before_it_is_guessed_from() -> None:
    sequence = TokenSequence(0, REPEATING * 200, max_tokens=99, sampler=SequenceSampler(SamplingParameters()))
    speculator = Speculator(Speculation.ON)
    drafted = [len(speculator.drafts([sequence])[0]) for _ in range(4)]
    assert drafted == [0, 0, MAX_DRAFT, MAX_DRAFT]
