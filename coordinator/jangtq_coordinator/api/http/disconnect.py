"""Cancels a request whose client disconnects while nothing is being sent to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.requests import Request

from jangtq_coordinator.engine.streams import StreamGroup


@asynccontextmanager
async def cancelled_on_disconnect(stream: StreamGroup, request: Request) -> AsyncIterator[None]:
    """While the block runs, a disconnect cancels the stream. The body must be read before."""
    watcher = asyncio.create_task(_watch(stream, request))
    try:
        yield
    except BaseException:
        stream.cancel()
        raise
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher


async def _watch(stream: StreamGroup, request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    stream.cancel()
