"""What a hostile client may send: good bodies for every endpoint, and all that can be wrong around them."""

import gzip
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.support.mutations import Mutator
from tests.support.tiny_model import MODEL_NAME

CHAT = "/v1/chat/completions"
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
GETS = (
    "/",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/v1/models",
    f"/v1/models/{MODEL_NAME}",
    "/openapi.json",
    "/v1/responses/resp_1",
    "/v1/models/..%2f..%2fetc%2fpasswd",
    "/%ff%fe?%00=%c0%ae",
    "http://127.0.0.1/health",
    "//health",
)
DEEP = b"[" * 100_000
BOMB = gzip.compress(bytes(4 << 20))
"""One thousandth of what it becomes."""


@dataclass(frozen=True)
class Sent:
    """One request, and the path that it asks for."""

    path: str
    data: bytes


Headers = list[tuple[bytes, bytes]]
Change = Callable[[random.Random, Headers, bytes], bytes]


def with_length(draw: random.Random, headers: Headers, body: bytes) -> bytes:
    headers.append((b"Content-Length", b"%d" % len(body)))
    return body


def chunked(draw: random.Random, headers: Headers, body: bytes) -> bytes:
    headers.append((b"Transfer-Encoding", b"chunked"))
    cut = draw.randrange(len(body) + 1)
    parts = [part for part in (body[:cut], body[cut:]) if part]
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Trailer: 1\r\n\r\n"


def said_twice(draw: random.Random, headers: Headers, body: bytes) -> bytes:
    headers += [(b"Content-Length", b"%d" % len(body))] * 2
    return body


def compressed(draw: random.Random, headers: Headers, body: bytes) -> bytes:
    headers += [(b"Content-Encoding", draw.choice((b"gzip", b"br"))), (b"Content-Length", b"%d" % len(BOMB))]
    return BOMB


def deep(draw: random.Random, headers: Headers, body: bytes) -> bytes:
    headers.append((b"Content-Length", b"%d" % len(DEEP)))
    return DEEP


def expecting(draw: random.Random, headers: Headers, body: bytes) -> bytes:
    headers += [(b"Expect", b"100-continue"), (b"Content-Length", b"%d" % len(body))]
    return body


def odd_headers(draw: random.Random, headers: Headers, body: bytes) -> bytes:
    headers += [
        (b"X-Long", b"x" * draw.choice((10, 20_000))),
        (b"X-Bytes", b"\xff\xfe\x80"),
        (b"Upgrade", draw.choice((b"websocket", b"h2c"))),
        (b"Connection", b"Upgrade"),
        (b"Content-Length", b"%d" % len(body)),
    ]
    return body


def two_framings(draw: random.Random, headers: Headers, body: bytes) -> bytes:
    headers.append((b"Content-Length", b"4"))
    return chunked(draw, headers, body)


def wrong_framing(draw: random.Random, headers: Headers, body: bytes) -> bytes:
    values = (b"-1", b"+5", b"5, 6", b"0x5", b"9" * 40, b"1 2", b"\xb2")
    name, value = draw.choice(
        (
            (b"Content-Length", draw.choice(values)),
            (b"Content-Length ", b"5"),
            (b"Transfer-Encoding", b"gzip, chunked"),
            (b"Transfer-Encoding", b"xchunked"),
            (b"Transfer-Encoding", b"chunked\r\n\tx"),
            (b"X\0Y", b"1"),
            (b"Many", b"x\r\n" + b"A: b\r\n" * 5000 + b"C: d"),
        )
    )
    headers.append((name, value))
    return body


def wrong_chunks(draw: random.Random, headers: Headers, body: bytes) -> bytes:
    headers.append((b"Transfer-Encoding", b"chunked"))
    size = draw.choice((b"-1", b"ffffffffffffffffffff", b"0x2", b"2 ", b"\xff", b"3;" + b"e" * 50_000))
    return b"2\r\n{}\r\n" + size + b"\r\n{}\r\n0\r\n\r\n"


def broken_bytes(draw: random.Random, headers: Headers, body: bytes) -> bytes:
    headers.append((b"Content-Length", b"%d" % len(body)))
    return bytes(byte if draw.random() < 0.9 else draw.randrange(256) for byte in body)


LASTING: Sequence[Change] = (
    with_length,
    with_length,
    chunked,
    compressed,
    deep,
    expecting,
    broken_bytes,
    odd_headers,
    said_twice,
)
"""What leaves the server knowing where the next request begins."""
ENDING: Sequence[Change] = (two_framings, wrong_framing, wrong_chunks)


def hostile_request(mutator: Mutator, change: Change) -> Sent:
    draw = mutator.random
    if draw.random() < 0.4:
        path, method, body = (
            draw.choice(GETS),
            draw.choice((b"GET", b"GET", b"HEAD", b"OPTIONS", b"PUT")),
            b"",
        )
    else:
        path, value = draw.choice(BODIES)
        method, body = b"POST", json.dumps(mutator.change_value(value)).encode()
    headers: Headers = [(b"Host", b"127.0.0.1"), (b"Content-Type", b"application/json")]
    if draw.random() < 0.1:
        headers.append((b"anthropic-version", b"2023-06-01"))
    body = change(draw, headers, body)
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return Sent(path, b"%b %b HTTP/1.1\r\n%b\r\n" % (method, path.encode(), lines) + body)


LAST = Sent("/health/live", b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
"""Has the server close the connection once everything before is answered."""
