"""Answers whose form a request demands: a schema, JSON, a tool call."""

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.support.api_server import Served, serving
from tests.support.tiny_model import MODEL_NAME

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
