"""Almost right requests into the API: every one is answered or cut off, none is a fault of the server."""

import asyncio
import http.client
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from jangtq_coordinator.api.app import ApiSettings
from jangtq_coordinator.api.http.access import Access, is_open
from jangtq_coordinator.api.http.api_keys import KeyFile, add_key
from tests.support.api_server import Served, serving
from tests.support.hostile_requests import (
    BODIES,
    CHAT,
    ENDING,
    LAST,
    LASTING,
    LONG,
    SHORT,
    Sent,
    hostile_request,
)
from tests.support.mutations import Mutator, converse, scaled
from tests.support.tiny_model import ScriptedModel

SECONDS = 60
CLIENTS = 8
MOST_GROWTH_BYTES = 96 << 20

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: 46\r\nConnection: close\r\n\r\n"
)
RAW = [
    HEAD + b'{"messages":[{"role":"user","content":"Hi!"}]}',
    HEAD.replace(b"Content-Length: 46", b"Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    b"GET /v1/models/x%2f..%2f HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n",
]


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    """Every answer is empty, so that the requests are what takes the time."""
    async with serving(new_model=lambda: ScriptedModel(lambda prompt: "")) as running:
        yield running


async def unharmed(server: Served, fuzz: Callable[[int, int], None]) -> None:
    """Run this in some threads, each with a seed; afterwards the server answers, and has not grown."""
    process = psutil.Process()
    before = process.memory_info().rss
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(CLIENTS) as pool:  # not the loop's own, which the server needs
        clients = [loop.run_in_executor(pool, fuzz, server.port, seed) for seed in range(CLIENTS)]
        await asyncio.gather(*clients)
    answer = await server.http.get("/health/live")
    assert answer.status_code == 200, answer.text
    assert process.memory_info().rss - before < MOST_GROWTH_BYTES


def post_values(port: int, seed: int) -> None:
    """JSON with other values, and bytes that are almost JSON, over one connection while it lasts."""
    mutator = Mutator(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    codes: Counter[int] = Counter()
    for index in range(scaled(80)):
        path, changed = mutator.random.choice(BODIES)
        for _ in range(mutator.random.choice((1, 1, 2, 3))):
            changed = mutator.change_value(changed)
        data = json.dumps(changed).encode()
        if index % 4 == 0:
            data = mutator.mutate(data)
        connection.request("POST", path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        codes[answer.status] += 1
        assert answer.status < 500, (data[:2000], said)
    connection.close()
    assert codes[200] and codes[400], codes


def send_bytes(port: int, seed: int) -> None:
    mutator = Mutator(seed)
    for index in range(scaled(60)):
        words = mutator.mutate(RAW[index % len(RAW)])
        status = status_of(port, words)
        assert status is None or status < 500 or status in (501, 505), (words, status)


def status_of(port: int, words: bytes) -> int | None:
    """The status of what is answered, None where the connection is only closed."""
    heard = converse(port, words, seconds=SECONDS)
    return int(heard[9:12]) if heard else None


async def test_no_value_is_the_servers_fault(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    for path, body in BODIES:
        good = await server.http.post(path, json=body)
        assert good.status_code == (400 if body is LONG else 200), (path, good.text)
    await unharmed(server, post_values)
    assert (await server.http.post(CHAT, json=SHORT)).status_code == 200
    assert_nothing_failed(caplog)


async def test_no_bytes_are_the_servers_fault(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    await unharmed(server, send_bytes)
    assert_nothing_failed(caplog)


def send_pipelines(port: int, seed: int) -> None:
    """Several requests at once on each connection; each gets one answer, whatever is wrong with it."""
    mutator = Mutator(seed)
    for _ in range(scaled(12)):
        requests = [*hostile_requests(mutator, count=11), LAST]
        codes = answers_to(port, requests)
        assert len(codes) == len(requests) and max(codes) < 500, (requests, codes)


def send_broken_pipelines(port: int, seed: int) -> None:
    """The same with something at the end that leaves nobody knowing where the next request begins."""
    mutator = Mutator(seed)
    for _ in range(scaled(12)):
        requests = hostile_requests(mutator, count=mutator.random.randrange(5))
        requests.append(hostile_request(mutator, mutator.random.choice(ENDING)))
        codes = answers_to(port, requests, hang_up=True)
        # A body without a length is taken for one more request.
        assert len(codes) <= len(requests) + 1 and all(code < 500 or code == 501 for code in codes), requests


def assert_nothing_failed(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever could have tracebacks written could fill a disk with them."""
    assert [record for record in caplog.records if record.levelname == "ERROR" or record.exc_info] == []


def hostile_requests(mutator: Mutator, *, count: int) -> list[Sent]:
    return [hostile_request(mutator, mutator.random.choice(LASTING)) for _ in range(count)]


def answers_to(port: int, requests: list[Sent], *, hang_up: bool = False) -> list[int]:
    """The statuses of all answers in a row, apart from 100 Continue."""
    heard = converse(port, b"".join(sent.data for sent in requests), seconds=SECONDS, hang_up=hang_up)
    return [int(piece[:3]) for piece in heard.split(b"HTTP/1.1 ")[1:] if not piece.startswith(b"100")]


def send_without_a_key(port: int, seed: int) -> None:
    mutator = Mutator(seed)
    for _ in range(scaled(12)):
        requests = [*hostile_requests(mutator, count=11), LAST]
        for sent, code in zip(requests, answers_to(port, requests), strict=True):
            assert code == 401 or is_open(sent.path), sent


async def test_no_pipeline_is_the_servers_fault(server: Served, caplog: pytest.LogCaptureFixture) -> None:
    await unharmed(server, send_pipelines)
    await unharmed(server, send_broken_pipelines)
    assert_nothing_failed(caplog)


async def test_who_has_no_key_gets_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add_key(tmp_path / "keys", "owner")
    settings = ApiSettings(access=Access(KeyFile(tmp_path / "keys")))
    async with serving(new_model=lambda: ScriptedModel(lambda prompt: ""), settings=settings) as locked:
        passes = len(locked.model.passes)
        await unharmed(locked, send_without_a_key)
        assert len(locked.model.passes) == passes
    assert_nothing_failed(caplog)
