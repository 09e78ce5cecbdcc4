"""A client of the chat API that costs little beside the server it measures: when each piece of text came."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Timed:
    """One streamed answer: stamps of time.perf_counter of its request and of each piece of text."""

    asked: float
    pieces: tuple[float, ...]
    prompt_tokens: int
    completion_tokens: int

    @property
    def first_seconds(self) -> float:
        return self.pieces[0] - self.asked

    @property
    def gaps(self) -> list[float]:
        """Seconds between two pieces, which are tokens but for those that came together."""
        return [later - earlier for earlier, later in zip(self.pieces, self.pieces[1:], strict=False)]


async def ask(base_url: str, prompt: str, *, max_tokens: int, every_token: bool = False) -> Timed:
    """Ask one question over a connection of its own. Raises RuntimeError for any answer but a whole one.

    With `every_token` those count as pieces too that bring no text yet.
    """
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=2**20)
    try:
        asked = time.perf_counter()
        writer.write(_request(prompt, max_tokens, logprobs=every_token))
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"the server answered {status!r} {await reader.read()!r}")
        return await _read(reader, asked)
    finally:
        writer.close()
        await writer.wait_closed()


def _request(prompt: str, max_tokens: int, *, logprobs: bool) -> bytes:
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "logprobs": logprobs,
        "chat_template_kwargs": {"enable_thinking": not logprobs},
    }
    content = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content


async def _read(reader: asyncio.StreamReader, asked: float) -> Timed:
    pieces: list[float] = []
    while line := await reader.readline():
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        if "error" in chunk:
            raise RuntimeError(chunk["error"]["message"])
        if any(_tells(choice) for choice in chunk["choices"]):
            pieces.append(time.perf_counter())
        if usage := chunk.get("usage"):
            return Timed(asked, tuple(pieces), usage["prompt_tokens"], usage["completion_tokens"])
    raise RuntimeError("the stream ended before its usage")


def _tells(choice: dict[str, Any]) -> bool:
    """Whether a chunk brings text or a token."""
    delta = choice["delta"]
    return bool(delta.get("content") or delta.get("reasoning_content") or choice["logprobs"])
