"""The FastAPI application over one engine."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from jangtq_coordinator.api.admin.health import ClusterHealth, health_router
from jangtq_coordinator.api.admin.metrics_endpoint import metrics_router
from jangtq_coordinator.api.admin.page import page_router
from jangtq_coordinator.api.anthropic.messages_endpoint import anthropic_router
from jangtq_coordinator.api.chat.generation import Generations
from jangtq_coordinator.api.chat.served_names import ServedNames
from jangtq_coordinator.api.http.access import Access, KeyCheck, OriginCheck
from jangtq_coordinator.api.http.body_limit import BodyLimit
from jangtq_coordinator.api.http.error_responses import add_error_handlers
from jangtq_coordinator.api.http.head_requests import HeadRequests
from jangtq_coordinator.api.http.request_log import ID_HEADERS, RequestLog
from jangtq_coordinator.api.http.request_metrics import RequestMetrics
from jangtq_coordinator.api.http.short_paths import ShortPaths
from jangtq_coordinator.api.http.sse import Answering
from jangtq_coordinator.api.openai.chat_completions import chat_router
from jangtq_coordinator.api.openai.completions import completions_router
from jangtq_coordinator.api.openai.models import models_router
from jangtq_coordinator.api.openai.refused_routes import refusing_router
from jangtq_coordinator.api.openai.responses import responses_router
from jangtq_coordinator.api.openai.token_routes import token_router
from jangtq_coordinator.engine.engine import Engine
from jangtq_proto.errors import ConfigurationError


@dataclass(frozen=True)
class ApiSettings:
    """`keepalive_seconds` without a byte make a stream send a comment."""

    max_body_bytes: int = 16 * 2**20
    keepalive_seconds: float = 5.0
    access: Access = Access()
    names: ServedNames = ServedNames()

    def __post_init__(self) -> None:
        if self.max_body_bytes < 1:
            raise ConfigurationError(f"body limit {self.max_body_bytes}: allowed are 1 byte and above")
        if self.keepalive_seconds <= 0:
            raise ConfigurationError(f"keep-alive {self.keepalive_seconds} s: allowed is above 0")


def create_app(
    engine: Engine,
    *,
    settings: ApiSettings | None = None,
    metrics: RequestMetrics | None = None,
    cluster_health: Callable[[], ClusterHealth] = ClusterHealth,
) -> FastAPI:
    """All routes. Starts and stops nothing: the engine's life is the caller's."""
    settings, metrics = settings or ApiSettings(), metrics or RequestMetrics()
    # The built-in documentation pages load scripts from elsewhere.
    app = FastAPI(title="jangtq-cluster", docs_url=None, redoc_url=None)
    turns, answering = (
        Generations(engine, settings.names),
        Answering(keepalive_seconds=settings.keepalive_seconds),
    )
    app.include_router(chat_router(turns, answering))
    app.include_router(completions_router(turns, answering))
    app.include_router(responses_router(turns, answering))
    app.include_router(anthropic_router(turns, answering))
    app.include_router(token_router(turns, engine))
    app.include_router(refusing_router())
    app.include_router(models_router(engine, settings.names))
    app.include_router(health_router(engine, cluster_health))
    app.include_router(metrics_router(metrics.registry))
    app.include_router(page_router())
    add_error_handlers(app)
    _add_layers(app, settings, metrics)
    return app


def _add_layers(app: FastAPI, settings: ApiSettings, metrics: RequestMetrics) -> None:
    """What requests pass on their way to a route, innermost first."""
    keys, origins = settings.access.keys, settings.access.origins
    app.add_middleware(ShortPaths)
    app.add_middleware(HeadRequests)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    if keys is not None:
        app.add_middleware(KeyCheck, keys=keys)
    app.add_middleware(OriginCheck, origins=origins, any_host=keys is not None)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("DELETE", "GET", "POST"),
            allow_headers=("*",),
            expose_headers=ID_HEADERS,
        )
    app.add_middleware(RequestLog, metrics=metrics)
