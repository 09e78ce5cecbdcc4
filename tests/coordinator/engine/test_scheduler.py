"""The batch generator against stock mlx-lm: the same tokens, sooner and in fewer passes."""

import itertools
from types import SimpleNamespace

import pytest

from jangtq_coordinator.engine import prefill as prefilling
from tests.support.mlx_generation import BatchGenerator
from tests.support.running_engine import stock_tokens
from tests.support.small_generators import GREEDY, PROMPTS, new_generator, run_to_end
from tests.support.tiny_model import ProbedModel


@pytest.mark.parametrize(("batch_size", "prefill_rows"), [(8, 16), (2, 64), (3, 1)])
def test_greedy_tokens_equal_stock_alone_and_together(batch_size: int, prefill_rows: int) -> None:
    generator = new_generator(ProbedModel(), batch_size=batch_size, prefill_rows=prefill_rows)
    uids = [generator.add(prompt, max_tokens=24, sampler=GREEDY) for prompt in PROMPTS]
    steps = run_to_end(generator)
    for uid, prompt in zip(uids, PROMPTS, strict=True):
        assert [step.token for step in steps[uid]] == stock_tokens(prompt, 24)
        assert [step.finish_reason for step in steps[uid]] == [None] * 23 + ["length"]


def test_a_prompt_of_one_chunk_costs_one_pass_a_token() -> None:
    model = ProbedModel()
    generator = new_generator(model, prefill_rows=32)
    generator.add(PROMPTS[2], max_tokens=6, sampler=GREEDY)
    assert len(run_to_end(generator)[0]) == 6
    assert model.passes == [(1, 17)] + [(1, 1)] * 5


def test_stock_batching_needs_two_passes_more() -> None:
    """The reason for this module; if it fails, stock mlx-lm may have caught up."""
    model = ProbedModel()
    stock = BatchGenerator(model, prefill_batch_size=1, max_tokens=6)
    stock.insert([PROMPTS[2]])
    while not any(r.finish_reason for r in stock.next_generated()):
        pass
    assert len(model.passes) == 8


def test_prompts_are_never_padded() -> None:
    model = ProbedModel()
    generator = new_generator(model, prefill_rows=16)
    for prompt in PROMPTS:
        generator.add(prompt, max_tokens=1, sampler=GREEDY)
    run_to_end(generator)
    assert [shape[0] for shape in model.passes] == [1] * len(model.passes)
    assert sum(shape[1] for shape in model.passes) == sum(map(len, PROMPTS))


def test_prefill_tells_its_progress_between_decode_steps() -> None:
    generator = new_generator(ProbedModel(), prefill_rows=30)
    generator.add(PROMPTS[4], max_tokens=1, sampler=GREEDY)
    seen = [step for _ in range(4) for step in generator.prefill()]
    assert [(step.done, step.total, step.first is None) for step in seen] == [
        (30, 70, True),
        (60, 70, True),
        (70, 70, False),
    ]


def test_a_short_prompt_waits_for_one_chunk_of_a_long_one_at_most() -> None:
    generator = new_generator(ProbedModel(), prefill_rows=16)
    long = generator.add([1] * 400, max_tokens=1, sampler=GREEDY)
    assert [step.uid for step in generator.prefill()] == [long]
    short = generator.add(PROMPTS[1], max_tokens=30, sampler=GREEDY)
    (step,) = generator.prefill()
    assert (step.uid, step.done) == (short, 5) and step.first
    # From now on each chunk lets the other sequence go on by one token.
    for _ in range(24):
        assert [step.uid for step in generator.decode()] == [short]
        assert [step.uid for step in generator.prefill()] == [long]
    assert not generator.prefilling


def test_a_stop_token_ends_its_sequence_only() -> None:
    stop = stock_tokens(PROMPTS[1], 8)[4]
    other = stock_tokens(PROMPTS[3], 8)
    assert stop not in stock_tokens(PROMPTS[1], 8)[:4]
    generator = new_generator(ProbedModel(), stop_tokens=frozenset({stop}))
    first, second = (generator.add(PROMPTS[i], max_tokens=8, sampler=GREEDY) for i in (1, 3))
    steps = run_to_end(generator)
    assert len(steps[first]) == 5 and steps[first][-1].finish_reason == "stop"
    expected = other[: other.index(stop) + 1] if stop in other else other
    assert [step.token for step in steps[second]] == expected


def test_forgetting_works_in_every_stage() -> None:
    generator = new_generator(ProbedModel(), prefill_rows=8)
    decoding, in_prefill, waiting, left = (
        generator.add(PROMPTS[i], max_tokens=5, sampler=GREEDY) for i in (1, 4, 2, 3)
    )
    generator.prefill()
    generator.prefill()
    generator.forget([decoding, in_prefill, waiting])
    assert [step.token for step in run_to_end(generator)[left]] == stock_tokens(PROMPTS[3], 5)


@pytest.mark.parametrize("passes_before", [0, 1, 3])
def test_a_failed_decode_pass_can_be_repeated(passes_before: int) -> None:
    model = ProbedModel()
    generator = new_generator(model, prefill_rows=100)
    uids = [generator.add(PROMPTS[i], max_tokens=12, sampler=GREEDY) for i in (1, 4)]
    tokens: dict[int, list[int]] = {}
    for _ in uids:
        (step,) = generator.prefill()
        assert step.first
        tokens[step.uid] = [step.first.token]
    decoded = [step for _ in range(passes_before) for step in generator.decode()]
    model.failures.append(RuntimeError("lost"))
    with pytest.raises(RuntimeError, match="lost"):
        generator.decode()
    decoded += [step for steps in run_to_end(generator).values() for step in steps]
    for uid, place in zip(uids, (1, 4), strict=True):
        tokens[uid] += [step.token for step in decoded if step.uid == uid]
        assert tokens[uid] == stock_tokens(PROMPTS[place], 12)


def test_dropping_the_decoding_leaves_the_prefill_alone() -> None:
    model = ProbedModel()
    generator = new_generator(model, prefill_rows=8)
    decoding, in_prefill = (generator.add(PROMPTS[i], max_tokens=5, sampler=GREEDY) for i in (1, 4))
    generator.prefill()
    generator.prefill()
    model.failures.append(RuntimeError("lost"))
    with pytest.raises(RuntimeError, match="lost"):
        generator.decode()
    assert generator.drop_decoding() == [decoding]
    steps = run_to_end(generator)
    assert [step.token for step in steps[in_prefill]] == stock_tokens(PROMPTS[4], 5)


@pytest.mark.parametrize("chunks_before", [0, 1, 8])
@pytest.mark.parametrize("gives_up", [True, False])
def test_a_failed_prefill_can_be_repeated_or_dropped(chunks_before: int, gives_up: bool) -> None:
    model = ProbedModel()
    generator = new_generator(model, prefill_rows=8)
    decoding, in_prefill = (generator.add(PROMPTS[i], max_tokens=12, sampler=GREEDY) for i in (1, 4))
    (step,) = generator.prefill()
    assert step.first
    tokens = [step.first.token]
    for _ in range(chunks_before):
        generator.prefill()
    model.failures.append(RuntimeError("lost"))
    with pytest.raises(RuntimeError, match="lost"):
        generator.prefill()
    if gives_up:
        assert generator.drop_prefill() == [in_prefill]
    steps = run_to_end(generator)
    assert tokens + [step.token for step in steps[decoding]] == stock_tokens(PROMPTS[1], 12)
    assert gives_up or [step.token for step in steps[in_prefill]] == stock_tokens(PROMPTS[4], 12)


@pytest.mark.parametrize(("allowed_ms", "warnings"), [(200, 1), (400, 0), (0, 0)])
def test_a_limit_that_no_chunk_keeps_is_said_once(
    allowed_ms: int, warnings: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every chunk takes 350 ms here, beside a sequence that decodes."""
    stamps = itertools.count()
    monkeypatch.setattr(prefilling, "time", SimpleNamespace(perf_counter=lambda: next(stamps) * 0.35))
    generator = new_generator(ProbedModel(), prefill_rows=16, prefill_ms=allowed_ms)
    generator.add(PROMPTS[0], max_tokens=100, sampler=GREEDY)
    for _ in range(4):
        generator.add(PROMPTS[4], max_tokens=1, sampler=GREEDY)
    run_to_end(generator)
    said = [record.getMessage() for record in caplog.records if "--prefill-ms" in record.getMessage()]
    assert len(said) == warnings
    assert all(
        "even chunks of 8 tokens take 350 ms, allowed are 200; more or faster" in line for line in said
    )
