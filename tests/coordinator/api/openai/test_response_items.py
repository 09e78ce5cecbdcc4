"""Responses as agents use them: other servers' tools, namespaces, references, kept reasoning, side routes."""

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from jangtq_coordinator.api.openai.responses_schema import ResponseRequest
from tests.support.api_server import Served, answering
from tests.support.tiny_model import MODEL_NAME

SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION: Any = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}
NAMESPACE: Any = {"type": "namespace", "name": "mcp__sky", "description": "x", "tools": [FUNCTION]}
OTHERS: Any = [
    {"type": "web_search", "external_web_access": False},
    {"type": "custom", "name": "apply_patch"},
    {"type": "local_shell"},
    {"type": "image_generation"},
    {"type": "mcp", "server_label": "x", "server_url": "http://127.0.0.1:1"},
    {"type": "namespace", "name": "empty", "tools": [{"type": "custom", "name": "x"}]},
]
CALL = (
    'They ask.\n</think>\n\nI look.\n<minimax:tool_call>\n<invoke name="{}">\n<parameter name="city">Köln'
    "</parameter>\n</invoke>\n</minimax:tool_call>"
)


def noting(seen: list[str]) -> Callable[[str], str]:
    """Says something nice, and keeps the prompts."""

    def say(prompt: str) -> str:
        seen.append(prompt)
        return "Hm.\n</think>\n\nNice."

    return say


async def respond(served: Served, **options: Any) -> Any:
    create: Any = served.openai.responses.create
    return await create(model=MODEL_NAME, **({"input": "Hi"} | options))


async def test_what_a_client_adds_up_is_what_was_said() -> None:
    """Starts are empty: each piece comes once."""
    async with answering(CALL.format("weather")) as served:
        stream: Any = served.openai.responses.stream(model=MODEL_NAME, input="Hi", tools=[FUNCTION])
        async with stream as events:
            starts = [e async for e in events if e.type.endswith(".added")]
            final = await events.get_final_response()
    reasoning, message, call = final.output
    assert reasoning.content[0].text == "They ask." and message.content[0].text == "I look."
    assert json.loads(call.arguments) == {"city": "Köln"}
    for start in starts:
        told = start.part.text if start.type.endswith("part.added") else ""
        assert told == "" and not getattr(getattr(start, "item", None), "arguments", "")


@pytest.mark.parametrize("other", OTHERS, ids=[tool["type"] for tool in OTHERS])
def test_tools_of_other_servers_are_left_out(other: Any) -> None:
    request = ResponseRequest.model_validate({"input": "Hi", "tools": [other, FUNCTION]}).chat(())
    assert [tool.function.name for tool in request.offered_tools] == ["weather"]


@pytest.mark.parametrize(
    ("item", "role"),
    [
        (
            {"type": "web_search_call", "id": "w", "action": {"query": "sky"}},
            "assistant",
        ),
        ({"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "sky"}, "assistant"),
        ({"type": "custom_tool_call_output", "call_id": "c", "output": "sky"}, "user"),
        ({"type": "local_shell_call_output", "id": "l", "output": "sky"}, "user"),
        ({"type": "mcp_approval_response", "approve": True, "reason": "sky"}, "user"),
    ],
)
def test_their_items_stay_as_text(item: Any, role: str) -> None:
    items = [{"role": "user", "content": "a"}, item, {"role": "user", "content": "b"}]
    messages = ResponseRequest.model_validate({"input": items}).chat(()).messages
    told = next(one for one in messages if "sky" in (one.content or ""))
    assert told.role == role and (told.content or "").startswith(f"[{item['type']}] ")


@pytest.mark.parametrize("streamed", [True, False])
async def test_functions_in_namespaces(streamed: bool) -> None:
    """As Codex offers the tools of MCP servers: flat for the model, and back under their own names."""
    async with answering(CALL.format("mcp__sky__weather")) as served:
        told = await respond(served, tools=[NAMESPACE, *OTHERS], stream=streamed)
        response = [event async for event in told][-1].response if streamed else told
    body = response.model_dump()["output"][-1]
    assert (body["name"], body["namespace"]) == ("weather", "mcp__sky")
    assert response.tools[0].name == "weather"
    again = ResponseRequest.model_validate({"input": [body]}).chat(()).messages[0].model_dump()
    assert again["tool_calls"][0]["function"]["name"] == "mcp__sky__weather"


async def test_items_are_named_by_reference() -> None:
    seen: list[str] = []
    async with answering(noting(seen)) as served:
        first = await respond(served, input=[{"role": "user", "content": "Number one", "id": "mine"}])
        references = [{"type": "item_reference", "id": item.id} for item in first.output]
        await respond(served, input=[{"id": "mine"}, *references, {"role": "user", "content": "And?"}])
        assert "Number one" in seen[-1] and "Nice." in seen[-1]
        await served.openai.responses.delete(first.id)
        with pytest.raises(openai.BadRequestError, match="no item 'mine' is kept here"):
            await respond(served, input=[{"type": "item_reference", "id": "mine"}])


async def test_the_items_that_a_response_answered() -> None:
    async with answering("</think>\n\nNice.") as served:
        first = await respond(served, input="One")
        second = await respond(
            served, input=[{"role": "user", "content": "Two"}], previous_response_id=first.id
        )
        page: Any = await served.openai.responses.input_items.list(second.id, order="asc")
        texts = [item.content[0].text for item in page.data]
        assert texts == ["One", "Nice.", "Two"] and all(item.id for item in page.data)
        pages: Any = served.openai.responses.input_items.list(second.id, limit=2)
        assert [item.content[0].text async for item in pages] == ["Two", "Nice.", "One"]
        with pytest.raises(openai.BadRequestError, match="after: no item"):
            await served.openai.responses.input_items.list(second.id, after="x")


async def test_a_kept_response_comes_as_a_stream_again() -> None:
    async with answering(CALL.format("weather")) as served:
        events = [e async for e in await respond(served, tools=[FUNCTION], stream=True)]
        final = events[-1].response
        again: Any = [e async for e in await served.openai.responses.retrieve(final.id, stream=True)]
        assert [e.type for e in again if "delta" not in e.type] == [
            e.type for e in events if "delta" not in e.type
        ]
        assert again[-1].response == final
        later: Any = await served.openai.responses.retrieve(final.id, stream=True, starting_after=3)
        assert [e.sequence_number async for e in later][0] == 4


async def test_counting_and_cancelling() -> None:
    async with answering("</think>\n\nNice.") as served:
        first = await respond(served, tools=[FUNCTION])
        count = await served.openai.responses.input_tokens.count(
            model=MODEL_NAME, input="Hi", tools=[FUNCTION]
        )
        assert count.input_tokens == first.usage.input_tokens
        with pytest.raises(openai.BadRequestError, match="close its connection"):
            await served.openai.responses.cancel(first.id)
        with pytest.raises(openai.NotFoundError, match="no response"):
            await served.openai.responses.cancel("resp_x")


async def test_reasoning_that_the_client_keeps_unread_comes_back() -> None:
    include: Any = ["reasoning.encrypted_content"]
    async with answering(CALL.format("weather")) as served:
        told = await respond(served, tools=[FUNCTION], store=False, include=include)
        plain = await respond(served, tools=[FUNCTION], store=False)
    reasoning = told.output[0].model_dump(exclude={"content"})
    assert reasoning["encrypted_content"] and plain.output[0].encrypted_content is None
    call = told.output[-1].model_dump()
    messages = ResponseRequest.model_validate({"input": [reasoning, call]}).chat(()).messages
    assert messages[0].model_dump()["reasoning_content"] == "They ask."


async def test_truncation_leaves_out_the_oldest_turns() -> None:
    turns = [
        {"role": role, "content": f"{at} " + "x" * 500} for at in range(6) for role in ("user", "assistant")
    ]
    items = [*turns, {"role": "user", "content": "last"}]
    seen: list[str] = []
    async with answering(noting(seen), context_length=2048) as served:
        with pytest.raises(openai.BadRequestError, match="prompt is too long: \\d+ tokens > 2047 maximum"):
            await respond(served, input=items)
        told = await respond(served, input=items, truncation="auto", instructions="Be brief.")
    assert told.truncation == "auto" and "last" in seen[-1] and "Be brief." in seen[-1]
    assert "0 x" not in seen[-1] and "5 x" in seen[-1]


async def test_members_that_schemas_require() -> None:
    async with answering("</think>\n\nNice.") as served:
        whole = (await served.http.post("/v1/responses", json={"input": "Hi"})).json()
    required = (
        "id object created_at completed_at status incomplete_details model previous_response_id instructions "
        "output error tools tool_choice truncation parallel_tool_calls text top_p presence_penalty "
        "frequency_penalty top_logprobs temperature reasoning usage max_output_tokens max_tool_calls store "
        "background service_tier metadata safety_identifier prompt_cache_key"
    )
    assert set(required.split()) <= set(whole)
    for name in (
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "top_logprobs",
        "completed_at",
    ):
        assert isinstance(whole[name], int | float)
    assert whole["usage"]["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}
