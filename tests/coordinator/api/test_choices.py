"""What a request may ask of its tokens: several answers, log-probabilities, biases, penalties, a form."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from tests.support.api_server import Served, serving
from tests.support.tiny_model import MODEL_NAME, load_tiny_tokenizer

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


def texts(answer: ChatCompletion) -> list[str | None]:
    return [choice.message.content for choice in answer.choices]


async def test_several_answers(served: Served) -> None:
    answer = await ask(served, n=3, seed=7)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len(set(texts(answer))) == 3
    assert answer.usage.completion_tokens == 36
    alone = await ask(served, seed=7)
    assert texts(alone) == texts(answer)[:1]
    assert alone.usage.prompt_tokens == answer.usage.prompt_tokens
    assert alone.usage.prompt_tokens_details.cached_tokens >= 0


async def test_several_answers_in_one_stream(served: Served) -> None:
    stream = await ask(served, n=3, seed=7, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert texts(await ask(served, n=3, seed=7)) == [
        "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == index)
        for index in range(3)
    ]
    ends = [c.index for chunk in chunks for c in chunk.choices if c.finish_reason == "length"]
    assert sorted(ends) == [0, 1, 2]
    assert chunks[-1].usage.completion_tokens == 36 and not chunks[-1].choices


async def test_a_seed_reproduces_whatever_runs_beside(served: Served) -> None:
    alone = texts(await ask(served, seed=5, max_tokens=40))
    others = [ask(served, temperature=t, max_tokens=n) for t, n in ((0, 7), (1, 20), (2, 60), (1, 33))]
    among, *_ = await asyncio.gather(ask(served, seed=5, max_tokens=40), *others)
    assert texts(among) == alone


async def test_biases_and_penalties(served: Served) -> None:
    x = load_tiny_tokenizer().encode("x", add_special_tokens=False)[0]
    assert texts(await ask(served, logit_bias={x: 100})) == ["x" * 12]
    # Each x costs more than the bias gives after a while.
    answer = await ask(served, temperature=0, logit_bias={x: 100}, frequency_penalty=2, max_tokens=100)
    assert 30 < (texts(answer)[0] or "").count("x") < 70
    plain, repelled = [
        len(set(texts(await ask(served, max_tokens=80, temperature=0, extra_body=QUIET | extra))[0] or ""))
        for extra in ({}, {"repetition_penalty": 5})
    ]
    assert repelled > plain


class Point(BaseModel):
    """What the clients turn into a schema."""

    x: int
    tag: str
