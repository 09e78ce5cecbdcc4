"""HTTP requests to a running coordinator, for the commands that act on one."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import httpx

from jangtq_coordinator.cli.command_settings import KEY_VARIABLE
from jangtq_proto.addresses import Address
from jangtq_proto.errors import JangtqError

_MARGIN_SECONDS: Final = 30


class CoordinatorAnswerError(JangtqError):
    """The coordinator gave no answer, or an error."""


def get(url: str, path: str, parameters: Mapping[str, str | float], *, seconds: float = 0) -> bytes:
    """The body of an answer, which may take `seconds` more than usual. Raises CoordinatorAnswerError."""
    return _ask(httpx.Request("GET", url.rstrip("/") + path, params=dict(parameters)), seconds)


def look(url: str, path: str) -> bytes:
    """As `get`, for answers whose status only repeats what they say, such as /health's 503."""
    return _ask(httpx.Request("GET", url.rstrip("/") + path), 0, tolerated=(503,))


def stream(url: str, path: str, body: Mapping[str, object]) -> Iterator[str]:
    """The lines of a POST's answer as they come. Raises CoordinatorAnswerError."""
    request = httpx.Request("POST", url.rstrip("/") + path, json=dict(body))
    with _sending(request, None) as client:
        response = client.send(request, stream=True)
        if response.is_error:
            response.read()
        _check(request, response)
        yield from response.iter_lines()


def post(url: str, path: str, body: Mapping[str, object]) -> bytes:
    """The body of the answer to a POST. Raises CoordinatorAnswerError."""
    return _ask(httpx.Request("POST", url.rstrip("/") + path, json=dict(body)), 0)


def _ask(request: httpx.Request, seconds: float, tolerated: tuple[int, ...] = ()) -> bytes:
    with _sending(request, seconds + _MARGIN_SECONDS) as client:
        response = client.send(request)
        _check(request, response, tolerated)
        return response.content


@contextmanager
def _sending(request: httpx.Request, timeout_seconds: float | None) -> Iterator[httpx.Client]:
    """A client for one request, which gets the user's key; errors get a sentence."""
    key = _key()
    if key:
        request.headers["Authorization"] = f"Bearer {key}"
    where = _origin(request)
    try:
        with httpx.Client(timeout=timeout_seconds, trust_env=not _is_here(request.url)) as client:
            yield client
    except httpx.UnsupportedProtocol as error:
        raise CoordinatorAnswerError(f"{request.url}: write http://HOST:PORT or https://HOST:PORT") from error
    except httpx.ConnectError as error:
        raise CoordinatorAnswerError(f"{where}: {error}; is `jangtq-coord serve` running there?") from error
    except httpx.HTTPError as error:
        raise CoordinatorAnswerError(f"{where}: {error or type(error).__name__}") from error


def _check(request: httpx.Request, response: httpx.Response, tolerated: tuple[int, ...] = ()) -> None:
    if response.is_error and response.status_code not in tolerated:
        where, message = _origin(request), _message_of(response, had_key=_key() != "")
        raise CoordinatorAnswerError(f"{where} answered {response.status_code}: {message}")


def _key() -> str:
    return os.environ.get(KEY_VARIABLE, "").strip()


def _origin(request: httpx.Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc.decode()}"


def _is_here(url: httpx.URL) -> bool:
    """Whether it is this machine, which no proxy of the environment is asked for."""
    return Address(url.host, url.port or 0).is_loopback


def _message_of(response: httpx.Response, *, had_key: bool) -> str:
    """The server's message, except for keys: the server names the header, the user knows the variable."""
    if response.status_code == httpx.codes.UNAUTHORIZED:
        if had_key:
            return f"the API key in the environment variable {KEY_VARIABLE} is not known there"
        return f"no API key: put one in the environment variable {KEY_VARIABLE}"
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
