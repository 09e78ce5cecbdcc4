"""GET /: the page for chat and cluster; it loads its own files at /page/ and runs nothing else."""

import hashlib
from collections.abc import Mapping
from importlib.abc import Traversable
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

_DOCUMENT: Final = "page.html"
_TYPES: Final = {"css": "text/css", "js": "text/javascript"}
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
CONTENT_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What a browser may do for the page: run this server's scripts and styles, and call this server."""


def page_router() -> APIRouter:
    """The page, read once."""
    router = APIRouter()
    folder = files("jangtq_coordinator") / "api/admin/static"
    document = (folder / _DOCUMENT).read_bytes()
    parts = _read_parts(folder)

    @router.get("/", include_in_schema=False)
    async def get_page(request: Request) -> Response:
        policy = {"Content-Security-Policy": CONTENT_POLICY}
        return _answer(request, document, kind="text/html", headers=policy)

    @router.get("/page/{path:path}", include_in_schema=False)
    async def get_part(request: Request, path: str) -> Response:
        if path not in parts:
            raise HTTPException(404, f"the page has no file {path}")
        return _answer(request, parts[path], kind=_TYPES[path.rpartition(".")[2]])

    return router


def _read_parts(folder: Traversable, prefix: str = "") -> Mapping[str, bytes]:
    """All scripts and styles by their path below the folder."""
    parts: dict[str, bytes] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            parts |= _read_parts(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            parts[prefix + entry.name] = entry.read_bytes()
    return parts


def _answer(
    request: Request, content: bytes, *, kind: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The content, or only the word that the browser has it already."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    sent = {**_HEADERS, **(headers or {}), "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=sent)
    return Response(content, media_type=f"{kind}; charset=utf-8", headers=sent)
