"""Who may call the API: clients with a key, if there are keys, and no web page of another site."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from jangtq_coordinator.api.http.api_keys import KeyFile
from jangtq_coordinator.api.http.error_responses import Problem
from jangtq_proto.addresses import Address, is_ip_address

OPEN_PATHS: Final = frozenset({"/", "/health/live", "/health/ready"})
"""Paths that need no key: the page asks for one itself, and probes have none."""

PAGE_FILES: Final = "/page/"
"""What begins so is a file of the page, the same for everybody."""

_LOCAL_SUFFIXES: Final = (".local", ".localhost", ".lan", ".internal", ".home.arpa")


@dataclass(frozen=True)
class Access:
    """`origins` are the web pages that may call ("*": all). With None for `keys`, no key is needed."""

    keys: KeyFile | None = None
    origins: tuple[str, ...] = ()


def is_open(path: str) -> bool:
    """Whether anybody may ask for it without a key."""
    return path in OPEN_PATHS or path.startswith(PAGE_FILES)


class KeyCheck:
    """ASGI middleware: `Authorization: Bearer KEY` or `x-api-key: KEY`, except for open paths."""

    def __init__(self, app: ASGIApp, keys: KeyFile) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        key = given_key(Headers(scope=scope))
        name = self._keys.name_of(key) if key else None
        if name is None and not is_open(scope["path"]):
            await _no_key(key).response({"WWW-Authenticate": "Bearer"})(scope, receive, send)
            return
        scope.setdefault("state", {})["key_name"] = name
        await self._app(scope, receive, send)


class OriginCheck:
    """ASGI middleware that refuses pages of other sites, since browsers send their requests without asking.

    Without keys the Host header must name this machine or an address: a page whose own host name points to
    this machine would be of the same origin (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, origins: Sequence[str], any_host: bool) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._any_host = any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(Headers(scope=scope)) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem.response()(scope, receive, send)

    def _problem(self, headers: Headers) -> Problem | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._any_host and not is_local_name(host):
            return Problem(
                403, f"the host {host!r} is not a local name: without API keys only those are served"
            )
        if (
            origin is None
            or origin in self._origins
            or "*" in self._origins
            or urlsplit(origin).netloc == host
        ):
            return None
        return Problem(403, f"pages of {origin!r} may not call: the server's --allow-origin could allow it")


def given_key(headers: Headers) -> str | None:
    """The key of a request, in the header of OpenAI's or of Anthropic's clients."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")


def key_name_of(scope: Scope) -> str | None:
    """The name of a request's key, if there are keys."""
    name = scope.get("state", {}).get("key_name")
    return name if isinstance(name, str) else None


def require_admin(request: Request) -> None:
    """A dependency of routes that change the cluster: asks for a key, or for this machine without keys."""
    if key_name_of(request.scope) is not None:
        return
    forwarded = any(name in request.headers for name in ("forwarded", "x-forwarded-for"))
    if forwarded or request.client is None or not Address(request.client.host, 0).is_loopback:
        raise HTTPException(403, "only this machine may change the cluster of a server without API keys")


def is_local_name(host: str) -> bool:
    """Whether a Host header names an address, or a name that public name servers do not serve."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return is_ip_address(name) or (name != "" and "." not in name) or name.endswith(_LOCAL_SUFFIXES)


def _no_key(given: str | None) -> Problem:
    if given is None:
        message = "no API key: send one as Authorization: Bearer KEY or as x-api-key"
    else:
        message = "this API key is not known here"
    return Problem(401, message, type="authentication_error", code="invalid_api_key")
