"""What a request may ask of its tokens: several answers, log-probabilities, biases, penalties, a form."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from tests.support.api_server import Served, serving
from tests.support.tiny_model import MODEL_NAME, load_tiny_tokenizer

HELLO: Any = [{"role": "user", "content": "Hello"}]
QUIET = {"chat_template_kwargs": {"enable_thinking": False}}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"unit": {"enum": ["C", "F"]}},
                "required": ["unit"],
            },
        },
    }
    for name in ("weather", "climate")
]


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


SMALL = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 99}, "tag": {"enum": ["a", "b"]}},
    "required": ["x", "tag"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_of_a_schema(served: Served, stream: bool) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "point", "schema": SMALL, "strict": True}}
    answer = await ask(served, n=3, response_format=wanted, max_tokens=400, seed=2, stream=stream)
    if stream:
        chunks = [choice async for chunk in answer for choice in chunk.choices]
        found = ["".join(c.delta.content or "" for c in chunks if c.index == i) for i in range(3)]
    else:
        found = [text or "" for text in texts(answer)]
    for text in found:
        value = json.loads(text)
        assert set(value) == {"x", "tag"} and 0 <= value["x"] <= 99 and value["tag"] in "ab"
    assert len(set(found)) > 1


async def test_any_json_object(served: Served) -> None:
    answer = await ask(served, response_format={"type": "json_object"}, max_tokens=30, temperature=0)
    assert (texts(answer)[0] or "").startswith("{")


async def test_a_thinking_model_thinks_freely_first(served: Served) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "point", "schema": SMALL}}
    answer = await ask(served, response_format=wanted, extra_body={})
    assert answer.choices[0].message.reasoning_content and not answer.choices[0].message.content


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"weather", "climate"}),
        ({"type": "function", "function": {"name": "climate"}}, {"climate"}),
    ],
)
async def test_a_call_can_be_demanded(served: Served, choice: object, names: set[str]) -> None:
    answer = await ask(
        served, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, max_tokens=400, n=2, seed=4
    )
    for one in answer.choices:
        assert one.finish_reason == "tool_calls" and not one.message.content
        (call,) = one.message.tool_calls
        assert call.function.name in names and json.loads(call.function.arguments)["unit"] in ("C", "F")


async def test_bad_demands_name_their_field(served: Served) -> None:
    broken = [
        TOOLS[0]
        | {
            "function": TOOLS[0]["function"]
            | {"parameters": {"properties": {"x": {"type": "number", "not": {}}}}}
        }
    ]
    for options, param in (
        ({"tools": broken, "tool_choice": "required"}, "tools"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 5}}}},
            "response_format",
        ),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(served, **options)
        assert caught.value.param == param
