"""Many requests in every API's form from clients that leave, stall, lie and ask nonsense: none lost,
and nothing kept.
"""

import asyncio
import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.support.cluster_processes import start_alone
from tests.support.forks import processes
from tests.support.mutations import scaled
from tests.support.raw_http import Connection, connection, post

REQUESTS = scaled(300)
WARMING = scaled(60)
AT_ONCE = 24
MOST_GROWTH_BYTES = 32 * 2**20
BODY_LIMIT = 20_000


@pytest.fixture(scope="module")
def server(demo_bundle: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A coordinator that holds all experts: its port and its process."""
    with processes() as children:
        child = start_alone(children, demo_bundle, ["--max-body-bytes", str(BODY_LIMIT)])
        yield urlsplit(child.listening()).port or 0, psutil.Process(child.process.pid)


@dataclass(frozen=True)
class Api:
    """One way to ask, what a whole answer has, what ends a stream, and fields of the wrong types."""

    path: str
    limit: str
    question: Callable[[str], dict[str, object]]
    answered: Callable[[dict[str, Any]], object]
    ends: tuple[bytes, ...]
    wrong: tuple[dict[str, Any], ...]

    def body(self, chance: random.Random, *, tokens: int | None = None, **fields: Any) -> bytes:
        limit = chance.randrange(1, 5) if tokens is None else tokens
        return json.dumps(
            self.question("x" * chance.randrange(1, 40)) | {self.limit: limit} | fields
        ).encode()

    def request(self, chance: random.Random, *, tokens: int | None = None, **fields: Any) -> bytes:
        return self.post(self.body(chance, tokens=tokens, **fields))

    def post(self, body: bytes, *, length: int | None = None) -> bytes:
        return post(body, path=self.path, length=length)

    def has_ended(self, body: bytes) -> bool:
        return any(end in body for end in self.ends)


def say(words: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": words}]}


APIS = (
    Api(
        "/v1/chat/completions",
        "max_tokens",
        say,
        lambda answer: answer["choices"][0]["finish_reason"],
        (b"data: [DONE]",),
        ({"messages": 5}, {"max_tokens": "x"}, {"stop": [1]}, {"temperature": -1}),
    ),
    Api(
        "/v1/completions",
        "max_tokens",
        lambda words: {"prompt": words},
        lambda answer: answer["choices"][0]["finish_reason"],
        (b"data: [DONE]",),
        ({"prompt": {}}, {"max_tokens": "x"}, {"stop": [1]}, {"logprobs": 99}),
    ),
    Api(
        "/v1/responses",
        "max_output_tokens",
        lambda words: {"input": words},
        lambda answer: answer["status"] in ("completed", "incomplete"),
        (b"event: response.completed", b"event: response.incomplete"),
        ({"input": 5}, {"max_output_tokens": "x"}, {"tools": {}}, {"temperature": -1}),
    ),
    Api(
        "/v1/messages",
        "max_tokens",
        say,
        lambda answer: answer["stop_reason"],
        (b"event: message_stop",),
        ({"messages": 5}, {"max_tokens": "x"}, {"stop_sequences": [1]}, {"temperature": -1}),
    ),
)


async def whole(port: int, api: Api, chance: random.Random) -> None:
    async with connection(port) as client:
        await client.send(api.request(chance))
        reply = await client.reply()
        assert reply.status == 200 and api.answered(json.loads(reply.body))


async def streamed(port: int, api: Api, chance: random.Random) -> None:
    async with connection(port) as client:
        await client.send(api.request(chance, stream=True))
        await _assert_complete(client, api)


async def read_slowly(port: int, api: Api, chance: random.Random) -> None:
    async with connection(port, receive_buffer=1024) as client:
        await client.send(api.request(chance, stream=True))
        await client.reader.readuntil(b"\r\n")
        await asyncio.sleep(chance.random() / 3)
        # The status line has been read already.
        async with asyncio.timeout(60):
            assert api.has_ended(await client.reader.read())


async def sent_slowly(port: int, api: Api, chance: random.Random) -> None:
    request = api.request(chance, stream=True)
    cut = chance.randrange(1, len(request))
    async with connection(port) as client:
        await client.send(request[:cut])
        await asyncio.sleep(chance.random() / 10)
        await client.send(request[cut:])
        await _assert_complete(client, api)


async def _assert_complete(client: Connection, api: Api) -> None:
    reply = await client.reply()
    assert reply.status == 200 and api.has_ended(reply.body)


async def unknown_fields(port: int, api: Api, chance: random.Random) -> None:
    async with connection(port) as client:
        fields: dict[str, Any] = {f"field_{chance.random()}": [{"deep": None}], "metadata": {"a": "b"}}
        await client.send(api.request(chance, **fields))
        assert (await client.reply()).status == 200


async def left_while_streaming(port: int, api: Api, chance: random.Random) -> None:
    async with connection(port) as client:
        await client.send(api.request(chance, tokens=2000, stream=True))
        await client.reader.read(chance.randrange(1, 600))


async def left_while_waiting(port: int, api: Api, chance: random.Random) -> None:
    async with connection(port) as client:
        await client.send(api.request(chance, tokens=2000))
        await asyncio.sleep(chance.random() / 20)


async def left_while_sending(port: int, api: Api, chance: random.Random) -> None:
    request = api.request(chance)
    async with connection(port) as client:
        await client.send(request[: chance.randrange(len(request))])


async def oversized(port: int, api: Api, chance: random.Random) -> None:
    async with connection(port) as client:
        await client.send(api.post(b"", length=chance.randrange(BODY_LIMIT + 1, 10 * BODY_LIMIT)))
        assert (await client.reply()).status == 413


async def malformed(port: int, api: Api, chance: random.Random) -> None:
    body = bytearray(api.body(chance))
    body[chance.randrange(len(body) - 1)] = chance.randrange(128, 256)
    async with connection(port) as client:
        await client.send(api.post(bytes(body[: chance.randrange(2, len(body))])))
        reply = await client.reply()
        assert reply.status == 400 and reply.error


async def wrong_types(port: int, api: Api, chance: random.Random) -> None:
    async with connection(port) as client:
        await client.send(api.request(chance, **chance.choice(api.wrong)))
        reply = await client.reply()
        assert reply.status == 400 and reply.error


Client = Callable[[int, Api, random.Random], Awaitable[None]]
PATIENT: tuple[Client, ...] = (whole, streamed, read_slowly, sent_slowly, unknown_fields)
LEAVING: tuple[Client, ...] = (left_while_streaming, left_while_waiting, left_while_sending)
WRONG: tuple[Client, ...] = (oversized, malformed, wrong_types)


async def run_clients(port: int, count: int, *, seed: int) -> Counter[tuple[str, str]]:
    """Let `count` clients do their worst; fails with the first one that was not served as it should be."""
    chance = random.Random(seed)
    kinds = chance.choices(list(itertools.product(PATIENT + LEAVING + WRONG, APIS)), k=count)
    places = asyncio.Semaphore(AT_ONCE)

    async def run_one(number: int, kind: Client, api: Api) -> None:
        async with places:
            await kind(port, api, random.Random(f"{seed} {number}"))

    async with asyncio.TaskGroup() as group:
        for number, (kind, api) in enumerate(kinds):
            group.create_task(run_one(number, kind, api))
    return Counter((kind.__name__, api.path) for kind, api in kinds)


async def until_idle(port: int) -> None:
    """Every request is gone and this is the only connection."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http, asyncio.timeout(60):
        while (await http.get("/health")).json()["requests"]:
            await asyncio.sleep(0.02)


def most_threads_more() -> int:
    """asyncio keeps a pool of threads that may grow to this size, and no further."""
    return min(32, (os.cpu_count() or 1) + 4)


async def test_misbehaving_requests_lose_nothing_and_leave_nothing(
    server: tuple[int, psutil.Process],
) -> None:
    port, process = server
    await run_clients(port, WARMING, seed=1)
    await until_idle(port)
    files, threads, memory = process.num_fds(), process.num_threads(), process.memory_info().rss
    kinds = await run_clients(port, REQUESTS, seed=2)
    await until_idle(port)
    async with asyncio.timeout(30):
        while process.num_fds() > files:
            await asyncio.sleep(0.05)
    assert process.num_threads() <= threads + most_threads_more()
    assert process.memory_info().rss - memory < MOST_GROWTH_BYTES
    assert kinds.total() == REQUESTS and len(kinds) == len(PATIENT + LEAVING + WRONG) * len(APIS)
