"""Bodies: limited together, and never unpacked."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from jangtq_coordinator.api.app import ApiSettings
from tests.support.api_server import Served, serving

QUESTION = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}


CHAT = json.dumps(QUESTION).encode()


@asynccontextmanager
async def raw_connection(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def answer_until_closed(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Status and error message of the last answer; returns when the server has closed the connection."""
    async with asyncio.timeout(30):
        data = await reader.read()
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["message"]


async def test_bodies_are_limited_together_too() -> None:
    """Eight times the largest body, however many connections bring it."""
    async with serving(settings=ApiSettings(max_body_bytes=1000)) as served, AsyncExitStack() as stack:
        begun = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b" " * 990
        for _ in range(9):
            reader, writer = await stack.enter_async_context(raw_connection(served))
            writer.write(begun)
        status, message = await answer_until_closed(reader)
        assert (status, message) == (503, "too many large requests at once")
        await stack.aclose()
        async with asyncio.timeout(30):
            while (await served.http.post("/v1/chat/completions", json=QUESTION)).status_code == 503:
                await asyncio.sleep(0.01)
        assert (await served.http.post("/v1/chat/completions", json=QUESTION)).status_code == 200


async def test_what_is_compressed_is_not_unpacked() -> None:
    async with serving() as served:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        reply = await served.http.post("/v1/chat/completions", content=gzip.compress(CHAT), headers=headers)
        assert reply.status_code == 400
