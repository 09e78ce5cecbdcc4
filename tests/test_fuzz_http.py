"""Almost right requests into the API: every one is answered or cut off, none is a fault of the server."""

import asyncio
import http.client
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from api_server import Served, serving
from mutations import Mutator, converse, scaled
from tiny_model import MODEL_NAME, ScriptedModel

CHAT = "/v1/chat/completions"
SECONDS = 60
CLIENTS = 8
MOST_GROWTH_BYTES = 96 << 20

TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
SHORT: dict[str, object] = {
    "messages": [{"role": "user", "content": "u"}],
    "max_tokens": 4,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "seed": 1,
    "stop": ["x"],
    "stream": False,
    "chat_template_kwargs": {"enable_thinking": False},
}
# Found good, but too long for the tiny model's context.
LONG: dict[str, object] = {
    "messages": [
        {"role": "system", "content": "s" * 512},
        {"role": "user", "content": [{"type": "text", "text": "u"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "t"},
    ],
    "tools": [TOOL],
    "stream_options": {"include_usage": True},
    "stream": True,
}
COMPLETION: dict[str, object] = {"prompt": "u", "max_tokens": 4, "n": 2, "logprobs": 2, "echo": False}
RESPONSE: dict[str, object] = {
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "u"}]}],
    "max_output_tokens": 16,
    "instructions": "i",
    "store": False,
    "text": {"format": {"type": "text"}},
}
ANTHROPIC: dict[str, object] = {
    "model": MODEL_NAME,
    "max_tokens": 4,
    "system": "s",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "u"}]}],
    "stop_sequences": ["x"],
    "thinking": {"type": "disabled"},
}
BODIES: list[tuple[str, object]] = [
    (CHAT, SHORT),
    (CHAT, LONG),
    ("/v1/completions", COMPLETION),
    ("/v1/responses", RESPONSE),
    ("/v1/messages", ANTHROPIC),
    ("/v1/messages/count_tokens", ANTHROPIC),
]
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
    answer = await server.http.post(CHAT, json=SHORT)
    assert answer.status_code == 200, answer.text
    assert process.memory_info().rss - before < MOST_GROWTH_BYTES


def post_values(port: int, seed: int) -> None:
    """JSON with other values, and bytes that are almost JSON, over one connection while it lasts."""
    mutator = Mutator(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    codes: Counter[int] = Counter()
    for index in range(scaled(250)):
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
    for index in range(scaled(125)):
        words = mutator.mutate(RAW[index % len(RAW)])
        status = status_of(port, words)
        assert status is None or status < 500 or status in (501, 505), (words, status)


def status_of(port: int, words: bytes) -> int | None:
    """The status of what is answered, None where the connection is only closed."""
    heard = converse(port, words, seconds=SECONDS)
    return int(heard[9:12]) if heard else None


async def test_no_value_is_the_servers_fault(server: Served) -> None:
    for path, body in BODIES:
        good = await server.http.post(path, json=body)
        assert good.status_code == (400 if body is LONG else 200), (path, good.text)
    await unharmed(server, post_values)


async def test_no_bytes_are_the_servers_fault(server: Served) -> None:
    await unharmed(server, send_bytes)
