"""The engine when something ends early: failed passes, cancelled requests, stopping, a broken thread."""

import asyncio
from collections.abc import Sequence

import pytest

from jangtq_coordinator.engine.engine import Engine, EngineState
from jangtq_coordinator.engine.engine_config import EngineSettings
from jangtq_coordinator.engine.events import Failed, TokenGenerated
from jangtq_proto.errors import (
    BundleError,
    EngineUnavailableError,
    WorkerUnreachableError,
)
from tests.support.running_engine import (
    PROMPTS,
    collect,
    request,
    running_engine,
    stock_tokens,
    tokens_of,
    until,
)


@pytest.mark.parametrize("error", [WorkerUnreachableError("10.0.0.2:7700 is gone"), ValueError("a bug")])
async def test_a_failed_pass_fails_its_requests_and_no_later_one(error: Exception) -> None:
    with running_engine(prefill_rows=16, retry_seconds=0) as (engine, model):
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


async def test_passes_that_the_cluster_failed_are_tried_again() -> None:
    with running_engine(prefill_rows=16) as (engine, model):
        model.failures += [WorkerUnreachableError("gone")] * 2
        first = engine.submit(request(PROMPTS[1], max_tokens=200))
        while not isinstance(await anext(first), TokenGenerated):
            pass
        model.failures += [WorkerUnreachableError("gone again")] * 3
        second = engine.submit(request(PROMPTS[2], max_tokens=20))
        assert tokens_of(await collect(second)) == stock_tokens(PROMPTS[2], 20)
        assert tokens_of(await collect(first)) == stock_tokens(PROMPTS[1], 200)[1:]
        assert engine.counters.failed_passes == 5


async def test_requests_can_be_cancelled_while_the_cluster_is_down() -> None:
    with running_engine(retry_seconds=3600) as (engine, model):
        stream = engine.submit(request(max_tokens=400))
        while not isinstance(await anext(stream), TokenGenerated):
            pass
        model.failures += [WorkerUnreachableError("gone")] * 100_000
        await until(lambda: engine.counters.failed_passes > 0)
        stream.cancel()
        await until(lambda: engine.running == 0)
        model.failures.clear()
        assert tokens_of(await collect(engine.submit(request()))) == stock_tokens(PROMPTS[0], 8)


async def test_a_failed_prefill_leaves_the_others_running() -> None:
    with running_engine(prefill_rows=16, retry_seconds=0) as (engine, model):
        model.gate.clear()
        model.failures.append(WorkerUnreachableError("gone"))
        broken = engine.submit(request(PROMPTS[1]))
        healthy = engine.submit(request(PROMPTS[2]))
        model.gate.set()
        assert isinstance((await collect(broken))[-1], Failed)
        assert tokens_of(await collect(healthy)) == stock_tokens(PROMPTS[2], 8)


class NothingPleases:
    """A constraint that fails."""

    def mask(self, ahead: Sequence[int] = ()) -> None:
        raise ValueError("no token pleases me")

    def take(self, token: int) -> None:
        raise AssertionError("nothing was picked")

    def forced_tokens(self) -> tuple[int, ...]:
        return ()

    def verifiable(self, draft: Sequence[int]) -> tuple[int, ...]:
        return ()

    def look_ahead(self, draft: Sequence[int]) -> None:
        pass


async def test_a_failing_constraint_leaves_the_others_running() -> None:
    with running_engine() as (engine, _):
        failing, healthy = engine.submit(request(constraint=NothingPleases())), engine.submit(request())
        failed = await collect(failing)
        assert isinstance(failed[-1], Failed) and "pleases" in str(failed[-1].error)
        assert tokens_of(await collect(healthy)) == stock_tokens(PROMPTS[0], 8)


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


async def test_a_closed_event_loop_does_not_hold_the_engine() -> None:
    with running_engine() as (engine, _):

        def submit_and_leave() -> None:
            async def submit() -> None:
                engine.submit(request(max_tokens=400))

            asyncio.run(submit())

        await asyncio.to_thread(submit_and_leave)
        await until(lambda: engine.running == 0)
