"""Metrics of requests and their tokens for Prometheus. Knows neither HTTP nor the engine."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_TOKEN_SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.25,
    0.5,
    1,
    2.5,
    10,
)


class RequestMetrics:
    """Counters and histograms of one coordinator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "jangtq_http_requests", "HTTP requests answered.", ("route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "jangtq_http_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ("route",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.prompt_tokens = Counter(
            "jangtq_prompt_tokens", "Tokens of prompts that were begun.", registry=registry
        )
        self.completion_tokens = Counter("jangtq_completion_tokens", "Tokens generated.", registry=registry)
        self.streams_ended = Counter(
            "jangtq_generations", "Generations ended, by how.", ("end",), registry=registry
        )
        self.first_token = Histogram(
            "jangtq_first_token_seconds",
            "Seconds from a generation's begin to its first token, queueing included.",
            registry=registry,
            buckets=_SECONDS,
        )
        self.between_tokens = Histogram(
            "jangtq_between_tokens_seconds",
            "Seconds between two tokens of one generation.",
            registry=registry,
            buckets=_TOKEN_SECONDS,
        )
        self.queue_seconds = Histogram(
            "jangtq_queue_seconds",
            "Seconds until the first part of a generation's prompt was computed.",
            registry=registry,
            buckets=_SECONDS,
        )
