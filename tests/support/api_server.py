"""The API on a real uvicorn and a free loopback port, over an engine with the tiny model, for tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import openai
import uvicorn

from jangtq_coordinator.api.admin.health import ClusterHealth
from jangtq_coordinator.api.app import ApiSettings, create_app
from jangtq_coordinator.api.http.request_metrics import RequestMetrics
from jangtq_coordinator.cli.serve import listen, server_config
from jangtq_coordinator.config import ConnectionLimits, ServeSettings
from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.engine_config import EngineSettings, Speculation
from tests.support.tiny_model import ProbedModel, ScriptedModel, loader


@dataclass(frozen=True)
class Served:
    """A running API, what is behind it, and ways to call it."""

    engine: Engine
    model: ProbedModel
    port: int
    http: httpx.AsyncClient
    openai: openai.AsyncOpenAI
    anthropic: anthropic.AsyncAnthropic


@asynccontextmanager
async def answering(
    reply: str | Callable[[str], str], settings: ApiSettings | None = None, **changes: Any
) -> AsyncIterator[Served]:
    """The API over a model that says what `reply` makes of a prompt's text, or always the same."""
    answer = (lambda prompt: reply) if isinstance(reply, str) else reply
    async with serving(
        new_model=lambda: ScriptedModel(answer), settings=settings, **{"context_length": 4096} | changes
    ) as served:
        yield served


@asynccontextmanager
async def serving(
    *,
    engine_settings: EngineSettings | None = None,
    settings: ApiSettings | None = None,
    limits: ConnectionLimits | None = None,
    metrics: RequestMetrics | None = None,
    cluster_health: Callable[[], ClusterHealth] = ClusterHealth,
    new_model: Callable[[], ProbedModel] = ProbedModel,
    **changes: object,
) -> AsyncIterator[Served]:
    """`changes` are fields of the LoadedModel."""
    probe: list[ProbedModel] = []
    engine = Engine(
        loader(probe, new_model=new_model, **changes),
        settings=engine_settings or EngineSettings(retry_seconds=0, speculation=Speculation.OFF),
    )
    await asyncio.to_thread(engine.start)
    app = create_app(engine, settings=settings, metrics=metrics, cluster_health=cluster_health)
    serve_settings = ServeSettings(port=0, limits=limits or ConnectionLimits())
    server = uvicorn.Server(server_config(app, serve_settings))
    listener = listen(serve_settings)
    listener.listen()
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    task = asyncio.create_task(server.serve([listener]))
    try:
        async with (
            httpx.AsyncClient(base_url=base_url, timeout=60) as http,
            openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0) as client,
            anthropic.AsyncAnthropic(base_url=base_url, api_key="none", max_retries=0) as other_client,
        ):
            yield Served(engine, probe[0], listener.getsockname()[1], http, client, other_client)
    finally:
        probe[0].gate.set()
        server.should_exit = True
        await asyncio.to_thread(engine.stop, grace_seconds=0)
        await task
        listener.close()
