"""A thousand requests from clients that leave, stall, lie and ask nonsense: none lost, and nothing kept."""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from cluster_processes import start_alone
from raw_http import Connection, connection, post

from jangtq_coordinator.children import Children

REQUESTS = 1000
WARMING = 200
AT_ONCE = 24
MOST_GROWTH_BYTES = 32 * 2**20
BODY_LIMIT = 20_000


@pytest.fixture(scope="module")
def server(demo_bundle: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A coordinator that holds all experts: its port and its process."""
    with Children() as children:
        child = start_alone(children, demo_bundle, ["--max-body-bytes", str(BODY_LIMIT)])
        yield urlsplit(child.listening()).port or 0, psutil.Process(child.process.pid)


def chat(chance: random.Random, **fields: object) -> bytes:
    words = "x" * chance.randrange(1, 40)
    body = {"messages": [{"role": "user", "content": words}], "max_tokens": chance.randrange(1, 5)}
    return json.dumps(body | fields).encode()


async def whole(port: int, chance: random.Random) -> None:
    async with connection(port) as client:
        await client.send(post(chat(chance)))
        reply = await client.reply()
        assert reply.status == 200 and json.loads(reply.body)["choices"][0]["finish_reason"]


async def streamed(port: int, chance: random.Random) -> None:
    async with connection(port) as client:
        await client.send(post(chat(chance, stream=True)))
        await _assert_complete(client)


async def read_slowly(port: int, chance: random.Random) -> None:
    async with connection(port, receive_buffer=1024) as client:
        await client.send(post(chat(chance, stream=True)))
        await client.reader.readuntil(b"\r\n")
        await asyncio.sleep(chance.random() / 3)
        # The status line has been read already.
        async with asyncio.timeout(60):
            assert b"data: [DONE]" in await client.reader.read()


async def sent_slowly(port: int, chance: random.Random) -> None:
    request = post(chat(chance, stream=True))
    cut = chance.randrange(1, len(request))
    async with connection(port) as client:
        await client.send(request[:cut])
        await asyncio.sleep(chance.random() / 10)
        await client.send(request[cut:])
        await _assert_complete(client)


async def _assert_complete(client: Connection) -> None:
    reply = await client.reply()
    assert reply.status == 200 and reply.body.endswith(b"data: [DONE]\n\n")


async def unknown_fields(port: int, chance: random.Random) -> None:
    async with connection(port) as client:
        fields: dict[str, object] = {f"field_{chance.random()}": [{"deep": None}], "metadata": {"a": "b"}}
        await client.send(post(chat(chance, **fields)))
        assert (await client.reply()).status == 200


async def left_while_streaming(port: int, chance: random.Random) -> None:
    async with connection(port) as client:
        await client.send(post(chat(chance, stream=True, max_tokens=2000)))
        await client.reader.read(chance.randrange(1, 600))


async def left_while_waiting(port: int, chance: random.Random) -> None:
    async with connection(port) as client:
        await client.send(post(chat(chance, max_tokens=2000)))
        await asyncio.sleep(chance.random() / 20)


async def left_while_sending(port: int, chance: random.Random) -> None:
    request = post(chat(chance))
    async with connection(port) as client:
        await client.send(request[: chance.randrange(len(request))])


async def oversized(port: int, chance: random.Random) -> None:
    async with connection(port) as client:
        size = chance.randrange(BODY_LIMIT + 1, 10 * BODY_LIMIT)
        await client.send(post(b"", length=size))
        assert (await client.reply()).status == 413


async def malformed(port: int, chance: random.Random) -> None:
    body = bytearray(chat(chance))
    body[chance.randrange(len(body) - 1)] = chance.randrange(128, 256)
    async with connection(port) as client:
        await client.send(post(bytes(body[: chance.randrange(2, len(body))])))
        reply = await client.reply()
        assert reply.status == 400 and reply.error


async def wrong_types(port: int, chance: random.Random) -> None:
    wrong = chance.choice(({"messages": 5}, {"max_tokens": "x"}, {"stop": [1]}, {"temperature": -1}))
    async with connection(port) as client:
        await client.send(post(chat(chance, **wrong)))
        reply = await client.reply()
        assert reply.status == 400 and reply.error


Client = Callable[[int, random.Random], Awaitable[None]]
PATIENT: tuple[Client, ...] = (whole, streamed, read_slowly, sent_slowly, unknown_fields)
LEAVING: tuple[Client, ...] = (left_while_streaming, left_while_waiting, left_while_sending)
WRONG: tuple[Client, ...] = (oversized, malformed, wrong_types)


async def run_clients(port: int, count: int, *, seed: int) -> Counter[str]:
    """Let `count` clients do their worst; fails with the first one that was not served as it should be."""
    chance = random.Random(seed)
    kinds = chance.choices(PATIENT + LEAVING + WRONG, k=count)
    places = asyncio.Semaphore(AT_ONCE)

    async def run_one(number: int, kind: Client) -> None:
        async with places:
            await kind(port, random.Random(f"{seed} {number}"))

    async with asyncio.TaskGroup() as group:
        for number, kind in enumerate(kinds):
            group.create_task(run_one(number, kind))
    return Counter(kind.__name__ for kind in kinds)


async def until_idle(port: int) -> None:
    """Every request is gone and this is the only connection."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http, asyncio.timeout(60):
        while (await http.get("/health")).json()["requests"]:
            await asyncio.sleep(0.02)


def most_threads_more() -> int:
    """asyncio keeps a pool of threads that may grow to this size, and no further."""
    return min(32, (os.cpu_count() or 1) + 4)


async def test_a_thousand_misbehaving_requests(server: tuple[int, psutil.Process]) -> None:
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
    assert kinds.total() == REQUESTS and len(kinds) == len(PATIENT + LEAVING + WRONG)
