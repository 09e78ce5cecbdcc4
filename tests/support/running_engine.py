"""An engine over the tiny model, and what tests ask of it."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.engine_config import EngineSettings, Speculation
from jangtq_coordinator.engine.events import Finished, GenerationEvent, TokenGenerated
from jangtq_coordinator.engine.request import GenerationRequest
from jangtq_coordinator.engine.streams import GenerationStream
from jangtq_coordinator.sampling.parameters import SamplingParameters
from jangtq_coordinator.text.reasoning import Channel
from tests.support.mlx_generation import stream_generate
from tests.support.tiny_model import CONTEXT_LENGTH, ProbedModel, load_tiny_tokenizer, loader, make_model

GREEDY = SamplingParameters(temperature=0)
PROMPTS = [tuple((5 * i + j * j) % 256 for j in range(n)) for i, n in enumerate((3, 20, 41, 64))]


@contextmanager
def running_engine(
    *, context_length: int = CONTEXT_LENGTH, **settings: object
) -> Iterator[tuple[Engine, ProbedModel]]:
    probe: list[ProbedModel] = []
    chosen = EngineSettings(**{"speculation": Speculation.OFF} | settings)  # type: ignore[arg-type]
    engine = Engine(loader(probe, context_length=context_length), settings=chosen)
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


def stock_tokens(prompt: Sequence[int], max_tokens: int) -> list[int]:
    replies = stream_generate(make_model(), load_tiny_tokenizer(), list(prompt), max_tokens=max_tokens)
    return [reply.token for reply in replies]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)
