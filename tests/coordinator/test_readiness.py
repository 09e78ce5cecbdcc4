"""The engine while a pass waits for the cluster: it hears who leaves, and when it has to stop."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import mlx.core as mx
import pytest

from jangtq_coordinator.engine.engine import Engine, EngineState
from jangtq_coordinator.engine.engine_config import EngineSettings
from jangtq_coordinator.engine.events import Failed, TokenGenerated
from jangtq_coordinator.engine.loaded_model import LoadedModel
from jangtq_coordinator.readiness import Readiness
from jangtq_proto.errors import CoverageError, EngineUnavailableError
from tests.support.running_engine import (
    PROMPTS,
    collect,
    request,
    running_engine,
    stock_tokens,
    tokens_of,
    until,
)
from tests.support.tiny_model import ProbedModel, loader


class WaitingModel(ProbedModel):
    """Its passes wait for the cluster until `complete` is set, as passes without a worker do."""

    def __init__(self) -> None:
        super().__init__()
        self.readiness = Readiness()
        self.complete = threading.Event()
        self.waiting = threading.Event()

    def __call__(self, inputs: mx.array, *, cache: list[object]) -> mx.array:
        while not self.complete.is_set():
            self.waiting.set()
            self.readiness.check_waiting()
            self.complete.wait(0.005)
        return super().__call__(inputs, cache=cache)


@contextmanager
def waiting_engine() -> Iterator[tuple[Engine, WaitingModel]]:
    model: list[WaitingModel] = []

    def load() -> LoadedModel:
        model.append(WaitingModel())
        return replace(loader(new_model=lambda: model[0])(), readiness=model[0].readiness)

    engine = Engine(load, settings=EngineSettings())
    engine.start()
    try:
        yield engine, model[0]
    finally:
        engine.stop(grace_seconds=0)


async def test_a_pass_that_waits_for_the_cluster_goes_on_with_whoever_is_left() -> None:
    with waiting_engine() as (engine, model):
        cancelled, patient = engine.submit(request()), engine.submit(request(PROMPTS[1]))
        await until(model.waiting.is_set)
        cancelled.cancel()
        late = engine.submit(request(PROMPTS[2]))
        model.complete.set()
        assert tokens_of(await collect(patient)) == stock_tokens(PROMPTS[1], 8)
        assert tokens_of(await collect(late)) == stock_tokens(PROMPTS[2], 8)
        assert await collect(cancelled) == []


async def test_one_of_several_leaves_while_a_pass_waits_for_the_cluster() -> None:
    with waiting_engine() as (engine, model):
        model.complete.set()
        streams = [engine.submit(request(prompt, max_tokens=200)) for prompt in PROMPTS[:2]]
        for stream in streams:
            while not isinstance(await anext(stream), TokenGenerated):
                pass
        model.complete.clear()
        streams[0].cancel()
        await until(lambda: engine.running == 1)
        model.complete.set()
        assert tokens_of(await collect(streams[1])) == stock_tokens(PROMPTS[1], 200)[1:]


async def test_a_pass_that_waits_for_the_cluster_ends_when_everybody_left() -> None:
    with waiting_engine() as (engine, model):
        streams = [engine.submit(request(prompt)) for prompt in PROMPTS[:2]]
        await until(model.waiting.is_set)
        for stream in streams:
            stream.cancel()
        await until(lambda: engine.running == 0)
        model.complete.set()
        assert tokens_of(await collect(engine.submit(request()))) == stock_tokens(PROMPTS[0], 8)


async def test_a_pass_that_waits_for_the_cluster_does_not_hold_up_stopping() -> None:
    with waiting_engine() as (engine, model):
        stream = engine.submit(request())
        await until(model.waiting.is_set)
        await asyncio.to_thread(engine.stop, grace_seconds=0)
        end = (await collect(stream))[-1]
    assert isinstance(end, Failed) and isinstance(end.error, EngineUnavailableError)
    assert engine.state is EngineState.STOPPED


async def test_no_prompt_begins_beside_a_running_answer_while_a_worker_has_too_much_to_do() -> None:
    with running_engine() as (engine, _):
        crowded = threading.Event()
        crowded.set()
        engine.loaded.readiness.when_overloaded(crowded.is_set)
        first = engine.submit(request(max_tokens=300))
        await anext(first)
        second = engine.submit(request(PROMPTS[1]))
        for _ in range(20):
            await anext(first)
        assert second.pending() == []
        crowded.clear()
        assert tokens_of(await collect(second)) == stock_tokens(PROMPTS[1], 8)
        assert len(tokens_of(await collect(first))) > 200


class Coverage:
    """A cluster that lacks an expert until `is_whole`."""

    def __init__(self) -> None:
        self.is_whole = False

    def check(self) -> None:
        if not self.is_whole:
            raise CoverageError("no worker serves experts 3")


async def test_new_requests_wait_for_a_complete_cluster() -> None:
    coverage = Coverage()
    with waiting_engine() as (engine, model):
        model.readiness.before_requests(coverage.check, wait_seconds=60)
        waiting = asyncio.create_task(engine.wait_until_complete())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        coverage.is_whole = True
        await waiting


async def test_new_requests_wait_no_longer_than_a_running_one() -> None:
    with waiting_engine() as (engine, model):
        model.readiness.before_requests(Coverage().check, wait_seconds=0.05)
        with pytest.raises(CoverageError, match="no worker serves experts 3"):
            await engine.wait_until_complete()
