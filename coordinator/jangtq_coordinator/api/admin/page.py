"""GET /: the page for chat and cluster, one document that loads nothing else and may run nothing else."""

import base64
import hashlib
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from starlette.responses import HTMLResponse

_SCRIPTS: Final = ("server.js", "markdown.js", "tools.js", "chat.js", "cluster.js")


def page_router() -> APIRouter:
    """The page, put together once from its parts."""
    router = APIRouter()
    folder = files("jangtq_coordinator") / "api/admin/static"
    style = (folder / "style.css").read_text()
    script = "\n".join((folder / name).read_text() for name in _SCRIPTS)
    html = (folder / "page.html").read_text().replace("{{style}}", style).replace("{{script}}", script)
    headers = {
        "Content-Security-Policy": content_policy(style=style, script=script),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }

    @router.get("/", include_in_schema=False)
    async def get_page() -> HTMLResponse:
        return HTMLResponse(html, headers=headers)

    return router


def content_policy(*, style: str, script: str) -> str:
    """What a browser may do for the page: run exactly this script and style, and call this server."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
