"""What one client may hold of the server: connections, time, heads; and that nothing is fetched for it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from jangtq_coordinator.api.chat import generation as turns
from jangtq_coordinator.config import ConnectionLimits
from jangtq_proto.errors import ConfigurationError
from tests.support.api_server import Served, serving
from tests.support.running_engine import until

SOON = 0.3
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


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /v1/mod", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"],
    ids=["nothing", "half a head", "half a body"],
)
async def test_requests_that_do_not_come_are_given_up(sent: bytes) -> None:
    async with serving(limits=ConnectionLimits(request_seconds=SOON)) as served:
        async with raw_connection(served) as (reader, writer):
            writer.write(sent)
            status, message = await answer_until_closed(reader)
        assert status == 408 and "not complete after 0.3 s" in message
        assert (await served.http.get("/v1/models")).status_code == 200


async def test_an_answer_may_take_longer_than_its_request() -> None:
    async with serving(limits=ConnectionLimits(request_seconds=SOON)) as served:
        served.model.gate.clear()
        json_type = {"Content-Type": "application/json"}
        reply = asyncio.create_task(served.http.post("/v1/chat/completions", content=CHAT, headers=json_type))
        await asyncio.sleep(3 * SOON)
        served.model.gate.set()
        assert (await reply).status_code == 200


async def test_clients_that_read_nothing_lose_their_connection() -> None:
    async with serving(limits=ConnectionLimits(stalled_seconds=SOON)) as served:
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            stalled.connect(("127.0.0.1", served.port))
            stalled.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    stalled.send(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
            await until(lambda: broken(stalled))
        assert (await served.http.get("/v1/models")).status_code == 200


def broken(connection: socket.socket) -> bool:
    """Whether the other side has reset it; reads nothing."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


async def test_connections_above_the_limit_are_told() -> None:
    async with serving(limits=ConnectionLimits(most=2)) as served:
        async with raw_connection(served), raw_connection(served):
            async with raw_connection(served) as (reader, _):
                status, message = await answer_until_closed(reader)
            assert (status, message) == (503, "2 connections are open already")
        assert (await served.http.get("/v1/models")).status_code == 200


async def test_schemas_too_large_for_any_prompt_are_not_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"p{number}" for number in range(2000)]
    schema = {"type": "object", "properties": {name: {"type": "integer"} for name in names}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    async with serving() as served:
        monkeypatch.setattr(turns, "demand_of", None)
        body = QUESTION | {"tool_choice": "required", "tools": [tool]}
        reply = await served.http.post("/v1/chat/completions", json=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")
        reply = await served.http.post(
            "/v1/chat/completions", json=QUESTION | {"chat_template_kwargs": dict.fromkeys(names, 1)}
        )
        assert reply.status_code == 400 and "allowed are 64" in reply.text


@pytest.mark.parametrize(
    "sent", [b"NOT HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000], ids=["noise", "head"]
)
async def test_what_is_no_request_is_refused_in_the_usual_form(sent: bytes) -> None:
    async with serving() as served, raw_connection(served) as (reader, writer):
        writer.write(sent)
        status, message = await answer_until_closed(reader)
        assert status == 400 and "heads may have 32768 bytes" in message


async def test_noise_behind_a_request_closes_the_connection_only() -> None:
    async with serving() as served:
        async with raw_connection(served) as (reader, writer):
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(CHAT)}\r\n"
            writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + CHAT + b"\0noise\r\n\r\n")
            async with asyncio.timeout(30):
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        assert (await served.http.get("/v1/models")).status_code == 200


@pytest.mark.parametrize(
    "head", [b"POST /v1/chat/completions", b"HEAD /v1/models"], ids=["a body awaited", "no body allowed"]
)
async def test_noise_inside_a_body_leaves_no_traceback(head: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as served:
        async with raw_connection(served) as (reader, writer):
            headers = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
            writer.write(head + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\nnoise\r\n")
            async with asyncio.timeout(30):
                assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        assert (await served.http.get("/v1/models")).status_code == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_upgrades_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as served:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        assert (await served.http.get("/v1/models", headers=headers)).status_code == 200
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_limits_are_checked() -> None:
    for wrong in ({"most": 0}, {"request_seconds": 0}, {"stalled_seconds": 1e9}):
        with pytest.raises(ConfigurationError, match="allowed are"):
            ConnectionLimits(**wrong)


async def test_nothing_is_fetched_for_a_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/x"
        async with serving() as served:
            paths = (await served.http.get("/openapi.json")).json()["paths"]
            routes = [
                path
                for path, methods in paths.items()
                if "post" in methods and path.startswith("/v1/") and "{" not in path
            ]
            assert "/v1/chat/completions" in routes
            for path in routes:
                for body in bodies_that_name(url):
                    reply = await served.http.post(path, json=body)
                    assert reply.status_code in (200, 400), reply.text
        with pytest.raises(BlockingIOError):
            trap.accept()


def bodies_that_name(url: str) -> list[dict[str, object]]:
    """Requests of every API that could make a careless server fetch something."""
    parts: list[dict[str, object]] = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "input_image", "image_url": url},
        {"type": "image", "source": {"type": "url", "url": url}},
        {"type": "document", "source": {"type": "url", "url": url}},
        {"type": "file", "file": {"file_data": url}},
        {"type": "input_file", "file_url": url},
    ]
    schema = {"type": "object", "properties": {"a": {"$ref": url}}}
    named = {
        "type": "json_schema",
        "name": "x",
        "schema": schema,
        "json_schema": {"name": "x", "schema": schema},
    }
    tools = [{"type": "mcp", "server_label": "x", "server_url": url}]
    extras: list[dict[str, object]] = [
        {"response_format": named},
        {"text": {"format": named}},
        {"tools": tools},
        {"mcp_servers": tools},
    ]
    for part in parts:
        turns = [{"role": "user", "content": [part]}]
        extras += [{"messages": turns}, {"input": turns}]
    plain: dict[str, object] = {"messages": [{"role": "user", "content": "x"}], "input": "x", "prompt": "x"}
    limits: dict[str, object] = {"max_tokens": 1, "max_output_tokens": 16}
    return [plain | limits | extra for extra in extras]
