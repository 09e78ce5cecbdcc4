"""HTTP by hand over asyncio, for clients that do what no library lets them."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Reply:
    """A whole answer: `body` without the framing of chunks."""

    status: int
    body: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"]["message"])


class Connection:
    """One connection, closed by the client in the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        # A server that refused already may have closed.
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def reply(self) -> Reply:
        """Read one answer to its end; the request must have asked to close the connection."""
        async with asyncio.timeout(60):
            data = await self.reader.read()
        head, _, body = data.partition(b"\r\n\r\n")
        chunked = b"transfer-encoding: chunked" in head.lower()
        return Reply(int(head.split()[1]), _joined(body) if chunked else body)


@asynccontextmanager
async def connection(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[Connection]:
    plain = socket.socket()
    plain.setblocking(False)
    if receive_buffer is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=2**20)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def post(body: bytes, *, path: str = CHAT, length: int | None = None) -> bytes:
    """A request with its body, or with another length than it has."""
    length = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {length}\r\nConnection: close\r\n\r\n".encode() + body


def _joined(chunks: bytes) -> bytes:
    result = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        count = int(size, 16)
        result += rest[:count]
        chunks = rest[count + 2 :]
    return result
