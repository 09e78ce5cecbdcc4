"""`jangtq-coord trace`: fetches a trace from a running coordinator and keeps it in a file."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from jangtq_proto.errors import ConfigurationError, JangtqError

KEY_VARIABLE: Final = "JANGTQ_API_KEY"
_MARGIN_SECONDS: Final = 30


@dataclass(frozen=True)
class TraceQuestion:
    """Of `request_id`, or of the next `seconds`, or of the request that began last."""

    url: str
    output: Path
    request_id: str | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.request_id is not None and self.seconds is not None:
            raise ConfigurationError("--request and --seconds exclude each other")

    @property
    def parameters(self) -> dict[str, str | float]:
        """The query of GET /trace."""
        given = {"request": self.request_id, "seconds": self.seconds}
        return {name: value for name, value in given.items() if value is not None}


class TraceError(JangtqError):
    """The coordinator gave no trace."""


def save_trace(question: TraceQuestion) -> None:
    """Write the file and say how much is in it. Raises JangtqError."""
    trace = _fetch(question)
    try:
        question.output.write_bytes(trace)
    except OSError as error:
        raise ConfigurationError(f"cannot write {question.output}: {error.strerror}") from error
    count = len(json.loads(trace)["traceEvents"])
    print(f"{question.output}: {count} events; open it at https://ui.perfetto.dev", flush=True)


def _fetch(question: TraceQuestion) -> bytes:
    key = os.environ.get(KEY_VARIABLE)
    try:
        response = httpx.get(
            f"{question.url.rstrip('/')}/trace",
            params=question.parameters,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=(question.seconds or 0) + _MARGIN_SECONDS,
        )
    except httpx.HTTPError as error:
        raise TraceError(f"{question.url}: {error or type(error).__name__}") from error
    if response.is_error:
        raise TraceError(f"{question.url} answered {response.status_code}: {_message_of(response)}")
    return response.content


def _message_of(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
