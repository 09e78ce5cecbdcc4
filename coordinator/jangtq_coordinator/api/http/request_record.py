"""The tokens and times of one HTTP request, for the metrics and for the access log."""

import logging
import time
from typing import Final

from jangtq_coordinator.api.http.request_metrics import RequestMetrics
from jangtq_coordinator.engine.events import (
    Failed,
    Finished,
    GenerationEvent,
    PrefillProgress,
    TokenGenerated,
)

# The client closed the connection before its answer began; nginx's number, since HTTP has none.
_CLIENT_GONE: Final = 499
# Asked every few seconds by probes, by Prometheus and by the page: their lines would hide all others.
_POLLED: Final = frozenset(
    {"/cluster", "/cluster/heat", "/health", "/health/live", "/health/ready", "/metrics"}
)
_log = logging.getLogger("jangtq.access")


class RequestRecord:
    """Used in one event loop. A request may have any number of streams, or none."""

    def __init__(self, metrics: RequestMetrics) -> None:
        self._metrics = metrics
        self._started = time.perf_counter()
        self._streams: list[StreamRecord] = []
        self.status: int | None = None

    def new_stream(self) -> "StreamRecord":
        """The observer of one more stream of this request."""
        stream = StreamRecord(self._metrics)
        self._streams.append(stream)
        return stream

    def close(self, *, method: str, route: str, key: str | None) -> None:
        """Count the request and write its line."""
        seconds = time.perf_counter() - self._started
        self._metrics.requests.labels(route, str(self.status or _CLIENT_GONE)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        facts = {
            "method": method,
            "route": route,
            "status": self.status,
            "seconds": round(seconds, 4),
            "key": key,
            **self._generation_facts(),
        }
        quiet = route in _POLLED and self.status is not None and self.status < 400
        _log.log(logging.DEBUG if quiet else logging.INFO, "answered", extra={"facts": facts})

    def _generation_facts(self) -> dict[str, object]:
        if not self._streams:
            return {}
        return {
            "prompt_tokens": sum(stream.prompt_tokens for stream in self._streams),
            "completion_tokens": sum(stream.completion_tokens for stream in self._streams),
            "queue_seconds": _earliest([stream.queue_seconds for stream in self._streams]),
            "first_token_seconds": _earliest([stream.first_token_seconds for stream in self._streams]),
            "end": ",".join(sorted({stream.end for stream in self._streams})),
            "error": next((stream.error for stream in self._streams if stream.error), None),
        }


class StreamRecord:
    """The tokens and times of one generation, as the reading event loop sees them."""

    def __init__(self, metrics: RequestMetrics) -> None:
        self._metrics = metrics
        self._started = time.perf_counter()
        self._last_token: float | None = None
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.queue_seconds: float | None = None
        self.first_token_seconds: float | None = None
        self.end = "running"
        self.error: str | None = None

    def saw(self, event: GenerationEvent) -> None:
        match event:
            case PrefillProgress():
                self._prefilled(event)
            case TokenGenerated():
                self._generated()
            case Finished():
                self._close(event.reason)
            case Failed():
                self.error = str(event.error)
                self._close("failed")

    def cancelled(self) -> None:
        self._close("cancelled")

    def _prefilled(self, event: PrefillProgress) -> None:
        if self.queue_seconds is None:
            self.queue_seconds = time.perf_counter() - self._started
            self.prompt_tokens = event.total
            self._metrics.queue_seconds.observe(self.queue_seconds)
            self._metrics.prompt_tokens.inc(event.total)

    def _generated(self) -> None:
        now = time.perf_counter()
        if self._last_token is None:
            self.first_token_seconds = now - self._started
            self._metrics.first_token.observe(self.first_token_seconds)
        else:
            self._metrics.between_tokens.observe(now - self._last_token)
        self._last_token = now
        self.completion_tokens += 1
        self._metrics.completion_tokens.inc()

    def _close(self, end: str) -> None:
        self.end = end
        self._metrics.streams_ended.labels(end).inc()


def _earliest(times: list[float | None]) -> float | None:
    known = [seconds for seconds in times if seconds is not None]
    return round(min(known), 4) if known else None
