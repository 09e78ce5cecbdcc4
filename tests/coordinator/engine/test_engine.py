"""The engine: requests share steps, and give the tokens and the text that stock mlx-lm gives."""

import asyncio

import pytest

from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.engine_config import EngineSettings
from jangtq_coordinator.engine.events import Finished, PrefillProgress, TokenGenerated
from jangtq_coordinator.engine.loaded_model import GenerationConfig
from jangtq_coordinator.sampling.parameters import SamplingParameters
from jangtq_coordinator.text.reasoning import Channel, Opening
from jangtq_proto.errors import (
    ContextOverflowError,
)
from tests.support.running_engine import (
    PROMPTS,
    collect,
    request,
    running_engine,
    stock_tokens,
    text_of,
    tokens_of,
)
from tests.support.tiny_model import CONTEXT_LENGTH, load_tiny_tokenizer, loader


async def test_requests_share_steps_and_equal_stock() -> None:
    with running_engine(prefill_rows=16) as (engine, model):
        answers = await asyncio.gather(*(collect(engine.submit(request(p, max_tokens=20))) for p in PROMPTS))
    for prompt, events in zip(PROMPTS, answers, strict=True):
        assert tokens_of(events) == stock_tokens(prompt, 20)
        end = events[-1]
        assert isinstance(end, Finished) and end.reason == "length"
        assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (len(prompt), 20)
    assert max(rows for rows, length in model.passes if length == 1) == len(PROMPTS)


async def test_the_first_token_does_not_wait_for_the_second_pass() -> None:
    with running_engine() as (engine, model):
        calls = 0
        stock_wait = model.gate.wait

        def wait_at_second_pass(timeout: float | None = None) -> bool:
            nonlocal calls
            calls += 1
            return stock_wait(timeout) if calls > 1 else True

        model.gate.wait = wait_at_second_pass  # type: ignore[method-assign]
        model.gate.clear()
        stream = engine.submit(request(max_tokens=2))
        async with asyncio.timeout(30):
            await anext(stream)
            assert isinstance(await anext(stream), TokenGenerated)
        model.gate.set()
        assert len(tokens_of(await collect(stream))) == 1


async def test_prefill_progress_is_told() -> None:
    with running_engine(prefill_rows=16) as (engine, _):
        events = await collect(engine.submit(request(PROMPTS[2], max_tokens=1)))
    progress = [event for event in events if isinstance(event, PrefillProgress)]
    assert progress == [PrefillProgress(done, 41) for done in (16, 32, 41)]


async def test_chunks_beside_a_stream_are_counted() -> None:
    with running_engine() as (engine, _):
        await collect(engine.submit(request(PROMPTS[3])))
        assert sum(engine.counters.held_up.counts) == 0
        streaming = engine.submit(request(max_tokens=500))
        while not isinstance(await anext(streaming), TokenGenerated):
            pass
        await collect(engine.submit(request(PROMPTS[2], max_tokens=1)))
        held_up = engine.counters.held_up
        assert sum(held_up.counts) >= 1 and held_up.nanoseconds > 0
        streaming.cancel()


async def test_the_text_is_what_the_tokens_say() -> None:
    with running_engine() as (engine, _):
        events = await collect(engine.submit(request(PROMPTS[1], max_tokens=200)))
    tokens = tokens_of(events)
    assert len(tokens) == 200 and len(set(tokens)) > 3
    assert text_of(events) == load_tiny_tokenizer().decode(tokens)


async def test_reasoning_tokens_are_counted() -> None:
    with running_engine() as (engine, _):
        events = await collect(engine.submit(request(opening=Opening(Channel.REASONING), max_tokens=6)))
    end = events[-1]
    assert isinstance(end, Finished) and end.usage.reasoning_tokens == 6
    assert text_of(events) == ""


async def test_a_stop_string_ends_the_answer_before_it() -> None:
    with running_engine() as (engine, model):
        whole = text_of(await collect(engine.submit(request(max_tokens=60))))
        stop = whole[10:13]
        before = whole[: whole.index(stop)]
        passes = len(model.passes)
        events = await collect(engine.submit(request(max_tokens=60, stops=(stop, "never in it"))))
        assert text_of(events) == before
        end = events[-1]
        assert isinstance(end, Finished) and end.reason == "stop"
        assert end.usage.completion_tokens < 60
        assert len(model.passes) - passes == end.usage.completion_tokens
        assert engine.running == 0


async def test_an_end_of_turn_token_stops_without_text() -> None:
    first = stock_tokens(PROMPTS[0], 3)
    ending = GenerationConfig(eos_token_ids=frozenset({first[2]}))
    engine = Engine(loader(generation=ending), settings=EngineSettings())
    engine.start()
    events = await collect(engine.submit(request(max_tokens=50)))
    engine.stop()
    assert tokens_of(events) == first
    assert isinstance(events[-1], Finished) and events[-1].reason == "stop"
    assert text_of(events) == load_tiny_tokenizer().decode(first[:2])


async def test_seeds_repeat_whatever_the_neighbours_do() -> None:
    seeded = request(sampling=SamplingParameters(seed=11), max_tokens=30)
    with running_engine(prefill_rows=16) as (engine, _):
        alone = tokens_of(await collect(engine.submit(seeded)))
        neighbours = [
            engine.submit(request(p, sampling=SamplingParameters(), max_tokens=30)) for p in PROMPTS
        ]
        together = tokens_of(await collect(engine.submit(seeded)))
        others = [tokens_of(await collect(stream)) for stream in neighbours]
        other_seed = tokens_of(
            await collect(engine.submit(request(sampling=SamplingParameters(seed=12), max_tokens=30)))
        )
    assert alone == together != other_seed
    assert all(len(tokens) == 30 for tokens in others)


async def test_a_prompt_beyond_the_context_names_both_numbers() -> None:
    with running_engine() as (engine, _):
        with pytest.raises(ContextOverflowError, match=f"{CONTEXT_LENGTH} tokens.*{CONTEXT_LENGTH} tokens"):
            engine.submit(request((1,) * CONTEXT_LENGTH))
        events = await collect(engine.submit(request((1,) * (CONTEXT_LENGTH - 2), max_tokens=100)))
    assert len(tokens_of(events)) == 2


async def test_an_idle_engine_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_engine() as (engine, _):
        await collect(engine.submit(request()))
        assert engine._steps is not None
        rounds = 0

        def count_round() -> list[object]:
            nonlocal rounds
            rounds += 1
            return []

        monkeypatch.setattr(engine._steps._scheduler, "decode", count_round)
        await asyncio.sleep(0.05)
        assert rounds == 0
