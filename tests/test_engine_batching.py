"""The eager batch generator against stock mlx-lm: the same tokens, sooner and in fewer passes."""

import pytest
from tiny_model import ProbedModel, load_tiny_tokenizer, make_model

from jangtq_coordinator.batching import EagerBatchGenerator, PrefillStep, TokenStep
from jangtq_coordinator.mlx_lm_import import BatchGenerator, stream_generate
from jangtq_coordinator.picking import Picker
from jangtq_coordinator.sampling import SamplingParameters

GREEDY = Picker(SamplingParameters(temperature=0))
PROMPTS = [[(7 * i + j * j) % 256 for j in range(n)] for i, n in enumerate((1, 5, 17, 33, 70))]


def new_generator(
    model: ProbedModel,
    *,
    batch_size: int = 8,
    prefill_rows: int = 16,
    stop_tokens: frozenset[int] = frozenset(),
) -> EagerBatchGenerator:
    return EagerBatchGenerator(
        model, stop_tokens=stop_tokens, batch_size=batch_size, prefill_rows=prefill_rows
    )


def run_to_end(generator: EagerBatchGenerator) -> dict[int, list[TokenStep]]:
    """Every sequence's steps."""
    steps: dict[int, list[TokenStep]] = {}
    while True:
        decoded = generator.decode()
        prefill = generator.prefill()
        if prefill is None and not decoded:
            return steps
        first = [prefill.first] if prefill and prefill.first else []
        for step in (*decoded, *first):
            steps.setdefault(step.uid, []).append(step)


def stock_tokens(prompt: list[int], max_tokens: int) -> list[int]:
    replies = stream_generate(make_model(), load_tiny_tokenizer(), prompt, max_tokens=max_tokens)
    return [reply.token for reply in replies]


@pytest.mark.parametrize(("batch_size", "prefill_rows"), [(8, 16), (2, 64), (3, 1)])
def test_greedy_tokens_equal_stock_alone_and_together(batch_size: int, prefill_rows: int) -> None:
    generator = new_generator(ProbedModel(), batch_size=batch_size, prefill_rows=prefill_rows)
    uids = [generator.add(prompt, max_tokens=24, picker=GREEDY) for prompt in PROMPTS]
    steps = run_to_end(generator)
    for uid, prompt in zip(uids, PROMPTS, strict=True):
        assert [step.token for step in steps[uid]] == stock_tokens(prompt, 24)
        assert [step.finish_reason for step in steps[uid]] == [None] * 23 + ["length"]


def test_a_prompt_of_one_chunk_costs_one_pass_a_token() -> None:
    model = ProbedModel()
    generator = new_generator(model, prefill_rows=32)
    generator.add(PROMPTS[2], max_tokens=6, picker=GREEDY)
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
        generator.add(prompt, max_tokens=1, picker=GREEDY)
    run_to_end(generator)
    assert [shape[0] for shape in model.passes] == [1] * len(model.passes)
    assert sum(shape[1] for shape in model.passes) == sum(map(len, PROMPTS))


def test_prefill_tells_its_progress_between_decode_steps() -> None:
    generator = new_generator(ProbedModel(), prefill_rows=30)
    generator.add(PROMPTS[4], max_tokens=1, picker=GREEDY)
    seen: list[PrefillStep | None] = [generator.prefill() for _ in range(4)]
    assert [(step.done, step.total, step.first is None) for step in seen[:3] if step] == [
        (30, 70, True),
        (60, 70, True),
        (70, 70, False),
    ]
    assert seen[3] is None


def test_a_stop_token_ends_its_sequence_only() -> None:
    stop = stock_tokens(PROMPTS[1], 8)[4]
    other = stock_tokens(PROMPTS[3], 8)
    assert stop not in stock_tokens(PROMPTS[1], 8)[:4]
    generator = new_generator(ProbedModel(), stop_tokens=frozenset({stop}))
    first, second = (generator.add(PROMPTS[i], max_tokens=8, picker=GREEDY) for i in (1, 3))
    steps = run_to_end(generator)
    assert len(steps[first]) == 5 and steps[first][-1].finish_reason == "stop"
    expected = other[: other.index(stop) + 1] if stop in other else other
    assert [step.token for step in steps[second]] == expected


def test_tokens_and_kv_cache_agree() -> None:
    generator = new_generator(ProbedModel())
    (uid,) = [generator.add(PROMPTS[2], max_tokens=9, picker=GREEDY)]
    generator.prefill()
    generator.prefill()
    emitted = [step.token for _ in range(3) for step in generator.decode()]
    cache, tokens = generator.extract_cache([uid])[uid]
    assert [c.offset for c in cache] == [len(tokens)] * 2
    # The last token emitted goes through the model with the next pass.
    assert tokens[: len(PROMPTS[2])] == PROMPTS[2] and tokens[-2:] == emitted[:2]


def test_forgetting_works_in_every_stage() -> None:
    generator = new_generator(ProbedModel(), prefill_rows=8)
    decoding, in_prefill, waiting, left = (
        generator.add(PROMPTS[i], max_tokens=5, picker=GREEDY) for i in (1, 4, 2, 3)
    )
    generator.prefill()
    generator.prefill()
    generator.forget([decoding, in_prefill, waiting])
    assert [step.token for step in run_to_end(generator)[left]] == stock_tokens(PROMPTS[3], 5)


def test_a_failed_decode_pass_leaves_the_prefill_alone() -> None:
    model = ProbedModel()
    generator = new_generator(model, prefill_rows=8)
    decoding, in_prefill = (generator.add(PROMPTS[i], max_tokens=5, picker=GREEDY) for i in (1, 4))
    generator.prefill()
    generator.prefill()
    model.failures.append(RuntimeError("lost"))
    with pytest.raises(RuntimeError, match="lost"):
        generator.decode()
    assert generator.drop_decoding() == [decoding]
    steps = run_to_end(generator)
    assert [step.token for step in steps[in_prefill]] == stock_tokens(PROMPTS[4], 5)


@pytest.mark.parametrize("chunks_before", [0, 1, 8])
def test_a_failed_prefill_leaves_the_decoding_alone(chunks_before: int) -> None:
    model = ProbedModel()
    generator = new_generator(model, prefill_rows=8)
    decoding, in_prefill = (generator.add(PROMPTS[i], max_tokens=12, picker=GREEDY) for i in (1, 4))
    first = generator.prefill()
    assert first and first.first
    tokens = [first.first.token]
    for _ in range(chunks_before):
        generator.prefill()
    model.failures.append(RuntimeError("lost"))
    with pytest.raises(RuntimeError, match="lost"):
        generator.prefill()
    assert generator.drop_prefill() == [in_prefill]
    tokens += [step.token for step in run_to_end(generator)[decoding]]
    assert tokens == stock_tokens(PROMPTS[1], 12)
