"""Memory for KV: who is let in, who waits, who goes back to the line, and who is told to come back later."""

import asyncio

import openai
import pytest

from jangtq_coordinator.engine.engine_config import EngineSettings
from jangtq_coordinator.engine.events import Finished, PrefillProgress, TokenGenerated
from jangtq_coordinator.kv.kv_config import KvSettings
from jangtq_coordinator.kv.storage import plan_kv
from jangtq_proto.errors import ContextOverflowError, QueueFullError
from tests.support.api_server import serving
from tests.support.running_engine import (
    PROMPTS,
    collect,
    request,
    running_engine,
    stock_tokens,
    tokens_of,
    until,
)
from tests.support.small_generators import GREEDY, new_generator, run_to_end
from tests.support.tiny_model import KV_SHAPE, MODEL_NAME, ProbedModel

COLUMN_BYTES = 256 * KV_SHAPE.token_bytes()
"""What a sequence of up to 256 tokens takes."""


def memory_for(columns: int) -> KvSettings:
    return KvSettings(budget_bytes=columns * COLUMN_BYTES)


def live(generator: object) -> int:
    return generator.prefilling + generator.decoding  # type: ignore[attr-defined,no-any-return]


def test_no_more_sequences_than_memory_has_room_for() -> None:
    model = ProbedModel()
    generator = new_generator(model, plan=plan_kv(KV_SHAPE, budget_bytes=2 * COLUMN_BYTES))
    prompts = [PROMPTS[1], PROMPTS[2], PROMPTS[3], PROMPTS[1]]
    uids = [generator.add(prompt, max_tokens=10, sampler=GREEDY) for prompt in prompts]
    most = 0
    tokens: dict[int, list[int]] = {uid: [] for uid in uids}
    while generator.waiting or live(generator):
        steps = generator.decode() + [step.first for step in generator.prefill() if step.first]
        for step in steps:
            tokens[step.uid].append(step.token)
        most = max(most, live(generator))
        load = generator.measure()
        assert load.active_bytes + load.kept_bytes <= load.budget_bytes
    assert most == 2
    assert [tokens[uid] for uid in uids] == [stock_tokens(prompt, 10) for prompt in prompts]


def test_a_long_sequence_counts_for_all_beside_it() -> None:
    """Two short ones fit, and the long one fits, but not together: all rows are as wide as the widest."""
    generator = new_generator(
        ProbedModel(), plan=plan_kv(KV_SHAPE, budget_bytes=3 * COLUMN_BYTES), prefill_rows=512
    )
    long = [(3 * i + i * i) % 256 for i in range(300)]
    for prompt in (PROMPTS[1], long, PROMPTS[2]):
        generator.add(prompt, max_tokens=10, sampler=GREEDY)
    generator.prefill()
    generator.prefill()
    assert (live(generator), generator.waiting) == (2, 1)
    steps = run_to_end(generator)
    assert len(steps[1]) == 10


async def test_when_memory_ends_the_last_one_waits_and_loses_nothing() -> None:
    """Both fit at first and grow beyond their memory; the one that came last is computed again later."""
    prompts = [tuple((i * i + 7 * n) % 256 for i in range(n)) for n in (100, 50)]
    with running_engine(kv=memory_for(4), context_length=1024) as (engine, _):
        answers = await asyncio.gather(
            *(collect(engine.submit(request(prompt, max_tokens=450))) for prompt in prompts)
        )
        assert engine.counters.preempted >= 1
    for prompt, events in zip(prompts, answers, strict=True):
        assert tokens_of(events) == stock_tokens(prompt, 450)
        kinds = [type(event) for event in events]
        assert PrefillProgress not in kinds[kinds.index(TokenGenerated) :]
        assert isinstance(events[-1], Finished) and events[-1].usage.prompt_tokens == len(prompt)


async def test_a_prompt_that_memory_never_holds_is_refused_with_both_numbers() -> None:
    with running_engine(kv=memory_for(1)) as (engine, _):
        with pytest.raises(ContextOverflowError, match="256 tokens.*room for 256 tokens.*--kv-memory"):
            engine.submit(request((1,) * 256))
        events = await collect(engine.submit(request(tuple(range(250)), max_tokens=100)))
    assert len(tokens_of(events)) == 6


async def test_a_full_line_refuses_and_then_takes_again() -> None:
    with running_engine(batch_size=1, queue_size=2) as (engine, model):
        first = engine.submit(request(max_tokens=400))
        while not isinstance(await anext(first), TokenGenerated):
            pass
        model.gate.clear()
        waiting = [engine.submit(request(PROMPTS[1])) for _ in range(2)]
        with pytest.raises(QueueFullError, match="2 requests wait already, and --queue-size is 2") as caught:
            engine.submit(request())
        assert caught.value.retry_after_seconds >= 1 and engine.counters.refused == 1
        waiting.pop().cancel()
        model.gate.set()
        await until(lambda: engine.load.waiting == 1)
        waiting.append(engine.submit(request(PROMPTS[1])))
        first.cancel()
        for stream in waiting:
            assert tokens_of(await collect(stream)) == stock_tokens(PROMPTS[1], 8)


async def test_free_places_are_no_queue() -> None:
    with running_engine(batch_size=4, queue_size=0) as (engine, _):
        answers = await asyncio.gather(*(collect(engine.submit(request())) for _ in range(4)))
    assert [len(tokens_of(events)) for events in answers] == [8] * 4


async def test_the_load_is_told() -> None:
    with running_engine(batch_size=2) as (engine, model):
        streams = [engine.submit(request(max_tokens=400)) for _ in range(3)]
        await until(lambda: engine.load.decoding == 2)
        load = engine.load
        assert (load.waiting, load.prefilling) == (1, 0)
        assert 0 < load.active_bytes < load.budget_bytes
        for stream in streams:
            stream.cancel()
        await until(lambda: engine.running == 0 and engine.load.decoding == 0)
        assert engine.counters.admitted >= 2 and engine.counters.prompt_tokens >= 2 * len(PROMPTS[0])


async def test_a_full_line_is_a_429_with_retry_after() -> None:
    settings = EngineSettings(batch_size=1, queue_size=0)
    async with serving(engine_settings=settings) as served:
        chat = served.openai.chat.completions
        messages: list[openai.types.chat.ChatCompletionUserMessageParam] = [{"role": "user", "content": "x"}]
        stream = await chat.create(model=MODEL_NAME, messages=messages, max_tokens=300, stream=True)
        await anext(aiter(stream))
        with pytest.raises(openai.RateLimitError, match="--queue-size is 0") as caught:
            await chat.create(model=MODEL_NAME, messages=messages, max_tokens=2)
        assert caught.value.code == "queue_full"
        assert int(caught.value.response.headers["retry-after"]) >= 1
        await stream.close()
