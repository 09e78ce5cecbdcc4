"""The engine: requests share steps, fail alone, can be cancelled, and are let finish when it stops."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mlx.core as mx
import pytest
from tiny_model import CONTEXT_LENGTH, ProbedModel, load_tiny_tokenizer, loader, make_model

from jangtq_coordinator.engine import Engine, EngineSettings, EngineState
from jangtq_coordinator.events import Failed, Finished, GenerationEvent, PrefillProgress, TokenGenerated
from jangtq_coordinator.mlx_lm_import import stream_generate
from jangtq_coordinator.reasoning import Channel, Opening
from jangtq_coordinator.requests import GenerationRequest
from jangtq_coordinator.sampling import SamplingParameters
from jangtq_coordinator.streams import GenerationStream
from jangtq_proto.errors import (
    BundleError,
    ContextOverflowError,
    EngineUnavailableError,
    WorkerUnreachableError,
)

GREEDY = SamplingParameters(temperature=0)
PROMPTS = [tuple((5 * i + j * j) % 256 for j in range(n)) for i, n in enumerate((3, 20, 41, 64))]


@contextmanager
def running_engine(**settings: int) -> Iterator[tuple[Engine, ProbedModel]]:
    probe: list[ProbedModel] = []
    engine = Engine(loader(probe), settings=EngineSettings(**settings))
    engine.start()
    try:
        yield engine, probe[0]
    finally:
        probe[0].gate.set()
        engine.stop(grace_seconds=0)


def request(prompt: tuple[int, ...] = PROMPTS[0], **options: object) -> GenerationRequest:
    options = {"sampling": GREEDY, "max_tokens": 8} | options
    return GenerationRequest(prompt, **options)  # type: ignore[arg-type]


async def collect(stream: GenerationStream) -> list[GenerationEvent]:
    async with asyncio.timeout(60):
        return [event async for event in stream]


def tokens_of(events: list[GenerationEvent]) -> list[int]:
    return [event.token for event in events if isinstance(event, TokenGenerated)]


def text_of(events: list[GenerationEvent], channel: Channel = Channel.CONTENT) -> str:
    pieces = [p for e in events if isinstance(e, TokenGenerated | Finished) for p in e.pieces]
    return "".join(piece.text for piece in pieces if piece.channel is channel)


def stock_tokens(prompt: tuple[int, ...], max_tokens: int) -> list[int]:
    replies = stream_generate(make_model(), load_tiny_tokenizer(), list(prompt), max_tokens=max_tokens)
    return [reply.token for reply in replies]


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
    changed = loader(tokenizer=load_tiny_tokenizer())

    def load_with_eos() -> object:
        from dataclasses import replace

        from jangtq_coordinator.loaded import GenerationConfig

        return replace(changed(), generation=GenerationConfig(eos_token_ids=frozenset({first[2]})))

    engine = Engine(load_with_eos, settings=EngineSettings())  # type: ignore[arg-type]
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


@pytest.mark.parametrize("error", [WorkerUnreachableError("10.0.0.2:7700 is gone"), ValueError("a bug")])
async def test_a_failed_pass_fails_its_requests_and_no_later_one(error: Exception) -> None:
    with running_engine(prefill_rows=16) as (engine, model):
        streams = [engine.submit(request(p, max_tokens=300)) for p in PROMPTS[:2]]
        for stream in streams:
            while not isinstance(await anext(stream), TokenGenerated):
                pass
        model.failures.append(error)
        for stream in streams:
            assert (await collect(stream))[-1] == Failed(error)
        assert engine.state is EngineState.READY and engine.running == 0
        events = await collect(engine.submit(request(PROMPTS[2], max_tokens=10)))
    assert tokens_of(events) == stock_tokens(PROMPTS[2], 10)


async def test_a_failed_prefill_leaves_the_others_running() -> None:
    with running_engine(prefill_rows=16) as (engine, model):
        model.gate.clear()
        model.failures.append(WorkerUnreachableError("gone"))
        broken = engine.submit(request(PROMPTS[1]))
        healthy = engine.submit(request(PROMPTS[2]))
        model.gate.set()
        assert isinstance((await collect(broken))[-1], Failed)
        assert tokens_of(await collect(healthy)) == stock_tokens(PROMPTS[2], 8)


async def test_a_failing_sampler_leaves_the_others_running(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(logits: mx.array) -> mx.array:
        raise ValueError("no token pleases me")

    with running_engine() as (engine, _):
        assert engine._steps is not None
        samplers = iter([broken, engine._steps._samplers.sampler(GREEDY)])
        monkeypatch.setattr(engine._steps._samplers, "sampler", lambda parameters: next(samplers))
        failing, healthy = engine.submit(request()), engine.submit(request())
        failed = await collect(failing)
        assert isinstance(failed[-1], Failed) and "pleases" in str(failed[-1].error)
        assert tokens_of(await collect(healthy)) == stock_tokens(PROMPTS[0], 8)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


async def test_cancelling_frees_the_place_within_one_step() -> None:
    with running_engine(batch_size=1) as (engine, model):
        first = engine.submit(request(max_tokens=400))
        second = engine.submit(request(PROMPTS[1]))
        while not isinstance(await anext(first), TokenGenerated):
            pass
        model.gate.clear()
        passes = len(model.passes)
        first.cancel()
        first.cancel()
        model.gate.set()
        assert tokens_of(await collect(second)) == stock_tokens(PROMPTS[1], 8)
        # The pass that stood at the gate, one that may have begun before, and the second request's own.
        assert len(model.passes) - passes <= 2 + 8
        assert await collect(first) == []


async def test_cancelling_while_waiting_and_in_prefill() -> None:
    with running_engine(prefill_rows=4) as (engine, model):
        model.gate.clear()
        in_prefill, waiting = engine.submit(request(PROMPTS[3])), engine.submit(request(PROMPTS[2]))
        in_prefill.cancel()
        waiting.cancel()
        model.gate.set()
        await until(lambda: engine.running == 0)
        assert sum(length for _, length in model.passes) <= 8
        assert tokens_of(await collect(engine.submit(request()))) == stock_tokens(PROMPTS[0], 8)


async def test_an_idle_engine_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_engine() as (engine, _):
        await collect(engine.submit(request()))
        assert engine._steps is not None
        rounds = 0

        def count_round() -> list[object]:
            nonlocal rounds
            rounds += 1
            return []

        monkeypatch.setattr(engine._steps._generator, "decode", count_round)
        await asyncio.sleep(0.05)
        assert rounds == 0


async def test_stop_lets_requests_finish_and_takes_no_more() -> None:
    with running_engine() as (engine, model):
        model.gate.clear()
        stream = engine.submit(request(max_tokens=20))
        stopping = asyncio.create_task(asyncio.to_thread(engine.stop, grace_seconds=60))
        await until(lambda: engine.state is EngineState.STOPPING)
        with pytest.raises(EngineUnavailableError, match="stopping"):
            engine.submit(request())
        model.gate.set()
        assert len(tokens_of(await collect(stream))) == 20
        await stopping
        assert engine.state is EngineState.STOPPED


async def test_stop_fails_what_outlives_the_grace() -> None:
    with running_engine(batch_size=1) as (engine, _):
        streams = [engine.submit(request(max_tokens=400)) for _ in range(2)]
        await anext(streams[0])
        await asyncio.to_thread(engine.stop, grace_seconds=0)
        for stream in streams:
            end = (await collect(stream))[-1]
            assert isinstance(end, Failed) and isinstance(end.error, EngineUnavailableError)
    assert engine.state is EngineState.STOPPED


async def test_a_broken_engine_tells_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_engine() as (engine, _):
        assert engine._steps is not None
        monkeypatch.setattr(engine._steps, "_decode", lambda: 1 / 0)
        stream = engine.submit(request())
        end = (await collect(stream))[-1]
        assert isinstance(end, Failed) and "division" in str(end.error)
        await until(lambda: engine.state is EngineState.FAILED)
        with pytest.raises(EngineUnavailableError, match="failed"):
            engine.submit(request())


def test_start_raises_what_load_raised() -> None:
    def load() -> object:
        raise BundleError("no such bundle")

    engine = Engine(load, settings=EngineSettings())  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="no such bundle"):
        engine.start()
    assert engine.state is EngineState.FAILED
    engine.stop()


async def test_a_prompt_beyond_the_context_names_both_numbers() -> None:
    with running_engine() as (engine, _):
        with pytest.raises(ContextOverflowError, match=f"{CONTEXT_LENGTH} tokens.*{CONTEXT_LENGTH} tokens"):
            engine.submit(request((1,) * CONTEXT_LENGTH))
        events = await collect(engine.submit(request((1,) * (CONTEXT_LENGTH - 2), max_tokens=100)))
    assert len(tokens_of(events)) == 2


async def test_a_closed_event_loop_does_not_hold_the_engine() -> None:
    with running_engine() as (engine, _):

        def submit_and_leave() -> None:
            async def submit() -> None:
                engine.submit(request(max_tokens=400))

            asyncio.run(submit())

        await asyncio.to_thread(submit_and_leave)
        await until(lambda: engine.running == 0)
