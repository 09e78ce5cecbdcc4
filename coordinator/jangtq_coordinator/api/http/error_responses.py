"""Every error in the form of the API that was called: what status, type and code an exception becomes."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jangtq_coordinator import logs
from jangtq_proto.errors import (
    ClusterError,
    ContextOverflowError,
    CoverageError,
    EngineUnavailableError,
    JangtqError,
    QueueFullError,
    RequestError,
    UnknownModelError,
    UnknownRequestError,
)

_log = logging.getLogger("jangtq.api")
_INVALID: Final = "invalid_request_error"
_RETRY_AFTER_SECONDS: Final = 5


@dataclass(frozen=True)
class Problem:
    """An error as clients see it."""

    status: int
    message: str
    type: str = _INVALID
    code: str | None = None
    param: str | None = None
    retry_after_seconds: int | None = None

    def body(self) -> dict[str, object]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def anthropic_body(self) -> dict[str, object]:
        kind = _ANTHROPIC_TYPES.get(self.status, "api_error" if self.status >= 500 else _INVALID)
        error = {"type": kind, "message": self.message}
        return {"type": "error", "error": error, "request_id": logs.request_id.get()}

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        answer_headers = dict(headers or {})
        if self.retry_after_seconds is not None:
            answer_headers["Retry-After"] = str(self.retry_after_seconds)
        return _ProblemResponse(self, answer_headers)


_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class _ProblemResponse(Response):
    """OpenAI's form, or Anthropic's for clients of that API."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None) -> None:
        self._problem = problem
        super().__init__(_encode(problem.body()), problem.status, headers, media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if speaks_anthropic(scope):
            self.body = _encode(self._problem.anthropic_body())
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def speaks_anthropic(scope: Scope) -> bool:
    """Whether a request is for Anthropic's API; its clients send a header also where paths are shared."""
    path: str = scope["path"]
    return path.startswith("/v1/messages") or "anthropic-version" in Headers(scope=scope)


def _encode(body: dict[str, object]) -> bytes:
    # ASCII, since a message may quote a lone surrogate from the request.
    return json.dumps(body).encode()


def problem_of(error: Exception) -> Problem:
    """The problem that clients see for an exception; details of unforeseen ones stay in the log."""
    match error:
        case UnknownModelError():
            return Problem(404, str(error), code="model_not_found", param="model")
        case UnknownRequestError():
            return Problem(404, str(error), code="request_not_found", param="request")
        case ContextOverflowError():
            return Problem(400, str(error), code="context_length_exceeded", param="messages")
        case RequestError():
            return Problem(400, str(error), param=error.param)
        case QueueFullError():
            return Problem(
                429,
                str(error),
                type="rate_limit_error",
                code="queue_full",
                retry_after_seconds=error.retry_after_seconds,
            )
        case CoverageError():
            return Problem(
                503,
                str(error),
                type="server_error",
                code="cluster_incomplete",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        case ClusterError():
            return Problem(503, str(error), type="server_error", code="cluster_error")
        case EngineUnavailableError():
            return Problem(503, str(error), type="server_error", code="engine_unavailable")
        case JangtqError():
            return Problem(500, str(error), type="server_error")
        case _:
            kind = type(error).__name__
            return Problem(500, f"the coordinator failed ({kind}); its log says more", type="server_error")


def problem_of_validation(error: RequestValidationError) -> Problem:
    """The first thing wrong with a body, named by its path such as messages.0.content."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return Problem(400, f"the body is not valid JSON: {first['ctx']['error']}")
    path = [str(part) for part in first["loc"] if part not in ("body", "query")]
    if not path and first["type"] == "value_error":
        # Of fields that make no sense together; the message begins with the name of one.
        message = str(first["ctx"]["error"])
        return Problem(400, message, param=message.partition(":")[0])
    if not path:
        return Problem(400, "the body must be a JSON object, sent as application/json")
    param = ".".join(path)
    given = "" if first["type"] in _SELF_EXPLAINING else f", not {_shorten(first['input'])}"
    message = str(first["ctx"]["error"]) if first["type"] == "value_error" else f"{first['msg']}{given}"
    return Problem(400, f"{param}: {message}", param=param)


_SELF_EXPLAINING: Final = ("missing", "value_error", "union_tag_invalid", "union_tag_not_found", "too_short")


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error in this form; RequestLog answers kinds that are not named here."""

    async def answer_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_of_validation(error).response()

    async def answer_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = error.detail
        if message == HTTPStatus(error.status_code).phrase:
            message = f"{message}: {request.method} {request.url.path}"
        return Problem(error.status_code, message).response(error.headers)

    async def answer(request: Request, error: Exception) -> Response:
        return problem_of(error).response()

    app.add_exception_handler(RequestValidationError, answer_validation)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(JangtqError, answer)
