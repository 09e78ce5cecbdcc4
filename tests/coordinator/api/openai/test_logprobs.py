"""Log-probabilities in answers of chat: whole, streamed, and none of the reasoning."""

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.api_server import Served, serving
from tests.support.tiny_model import MODEL_NAME

HELLO: Any = [{"role": "user", "content": "Hello"}]


QUIET = {"chat_template_kwargs": {"enable_thinking": False}}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(context_length=4096) as running:
        yield running


async def ask(served: Served, **options: Any) -> Any:
    options = {"max_tokens": 12, "messages": HELLO, "extra_body": QUIET} | options
    create: Any = served.openai.chat.completions.create
    return await create(model=MODEL_NAME, **options)


async def test_logprobs(served: Served) -> None:
    answer = await ask(served, logprobs=True, top_logprobs=3, temperature=0)
    (choice,) = answer.choices
    entries = choice.logprobs.content
    assert (
        b"".join(bytes(entry.bytes) for entry in entries).decode(errors="replace") == choice.message.content
    )
    for entry in entries:
        assert [entry.logprob, entry.bytes] == [entry.top_logprobs[0].logprob, entry.top_logprobs[0].bytes]
        values = [top.logprob for top in entry.top_logprobs]
        assert len(values) == 3 and values == sorted(values, reverse=True)
        assert sum(map(math.exp, values)) <= 1.001
    plain = await ask(served, logprobs=True, temperature=0)
    assert all(entry.top_logprobs == [] for entry in plain.choices[0].logprobs.content)
    assert (await ask(served)).choices[0].logprobs is None


async def test_logprobs_of_a_stream_are_those_of_the_whole(served: Served) -> None:
    whole = await ask(served, logprobs=True, top_logprobs=2, seed=1)
    stream = await ask(served, logprobs=True, top_logprobs=2, seed=1, stream=True)
    chunks = [chunk.choices[0] async for chunk in stream]
    entries = [entry for chunk in chunks if chunk.logprobs for entry in chunk.logprobs.content]
    assert entries == whole.choices[0].logprobs.content


async def test_reasoning_has_no_logprobs(served: Served) -> None:
    answer = await ask(served, logprobs=True, extra_body={})
    assert answer.choices[0].message.reasoning_content and answer.choices[0].logprobs.content == []
