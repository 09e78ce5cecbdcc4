"""The messages API through Anthropic's client: events, blocks, errors in its form."""

import json
from typing import Any

import anthropic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jangtq_coordinator.api.anthropic.messages_schema import MessageRequest
from jangtq_coordinator.api.chat.chat_messages import AssistantMessage, ToolMessage, UserMessage
from tests.coordinator.api.http.test_error_responses import json_values
from tests.support.api_server import Served, answering, serving
from tests.support.tiny_model import MODEL_NAME

ASK: Any = [{"role": "user", "content": "Hi"}]
TOOLS: Any = [{"name": "now", "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}}}]
THINK: Any = {"type": "enabled", "budget_tokens": 1024}
SPOKEN = (
    'They ask.\n</think>\n\nI look.\n<minimax:tool_call>\n<invoke name="now">\n'
    '<parameter name="zone"> CET</parameter>\n</invoke>\n</minimax:tool_call>'
)


async def send(served: Served, **options: Any) -> Any:
    create: Any = served.anthropic.messages.create
    return await create(model=MODEL_NAME, **({"max_tokens": 500, "messages": ASK} | options))


async def test_a_whole_message() -> None:
    async with answering(SPOKEN) as served:
        message = await send(served, tools=TOOLS, thinking=THINK)
    thinking, text, call = message.content
    assert (thinking.thinking, text.text) == ("They ask.", "I look.") and thinking.signature
    assert (call.name, call.input, call.id[:6]) == ("now", {"zone": " CET"}, "toolu_")
    assert (message.role, message.type, message.stop_reason) == ("assistant", "message", "tool_use")
    assert message.id.startswith("msg_") and message._request_id.startswith("req_")
    usage = message.usage
    assert usage.input_tokens > 0 and usage.output_tokens > 0 and usage.cache_read_input_tokens == 0


async def test_events_come_in_anthropics_order() -> None:
    async with answering(SPOKEN) as served:
        events = [event async for event in await send(served, tools=TOOLS, thinking=THINK, stream=True)]
    kinds = [
        f"{event.type} {event.delta.type}" if event.type == "content_block_delta" else event.type
        for event in events
    ]
    merged = [kind for at, kind in enumerate(kinds) if kinds[at - 1 : at] != [kind]]
    assert merged == [
        "message_start",
        "content_block_start",
        "content_block_delta thinking_delta",
        "content_block_delta signature_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta text_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta input_json_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0].message.usage.input_tokens == events[-2].usage.input_tokens > 0
    parts = [event.delta.partial_json for event in events if "input_json" in str(event)]
    assert json.loads("".join(parts)) == {"zone": " CET"}


async def test_the_second_turn_tells_what_was_cached() -> None:
    async with answering("</think>\n\nYes.") as served:
        first = await send(served, messages=[{"role": "user", "content": "x" * 2000}], thinking=THINK)
        second = await send(served, messages=[{"role": "user", "content": "x" * 2000}], thinking=THINK)
    assert second.usage.cache_read_input_tokens > 1000
    assert second.usage.input_tokens + second.usage.cache_read_input_tokens == first.usage.input_tokens


async def test_reasons_to_stop() -> None:
    async with answering("So I say. END of it.") as served:
        message = await send(served, stop_sequences=["never", ". END"])
        assert (message.content[0].text, message.stop_reason, message.stop_sequence) == (
            "So I say",
            "stop_sequence",
            ". END",
        )
        assert (await send(served)).stop_reason == "end_turn"
        assert (await send(served, max_tokens=3)).stop_reason == "max_tokens"


async def test_only_who_asks_for_thinking_gets_it() -> None:
    async with answering(lambda prompt: repr(prompt[-8:])) as served:
        for options in ({}, {"thinking": {"type": "disabled"}}):
            (block,) = (await send(served, **options)).content
            assert block.type == "text" and "think" not in block.text


async def test_tools_can_be_demanded_and_forbidden() -> None:
    plain: Any = [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in "ab"]
    choices: list[dict[str, Any]] = [{"type": "any"}, {"type": "tool", "name": "b"}]
    async with serving(context_length=4096) as served:
        for choice in choices:
            choice["disable_parallel_tool_use"] = True
            message = await send(served, tools=plain, tool_choice=choice)
            (call,) = message.content
            assert call.name in ("a", "b") and call.name == choice.get("name", call.name)
            assert (message.stop_reason, call.input) == ("tool_use", {})
    async with answering(SPOKEN.partition("</think>\n\n")[2]) as served:
        message = await send(served, tools=TOOLS, tool_choice={"type": "none"})
    assert [block.type for block in message.content] == ["text"]


async def test_counting_tokens() -> None:
    async with answering("Yes.") as served:
        options: Any = {"model": MODEL_NAME, "messages": ASK, "tools": TOOLS, "system": "Be brief."}
        count = await served.anthropic.messages.count_tokens(**options)
        message = await send(served, tools=TOOLS, system=[{"type": "text", "text": "Be brief."}])
    assert count.input_tokens == message.usage.input_tokens > len("Be brief.Hi")


async def test_models() -> None:
    async with serving() as served:
        models = [model async for model in served.anthropic.models.list()]
        assert [(model.id, model.display_name) for model in models] == [(MODEL_NAME, MODEL_NAME)]
        assert (await served.anthropic.models.retrieve(MODEL_NAME)).type == "model"
        with pytest.raises(anthropic.NotFoundError):
            await served.anthropic.models.retrieve("claude")


async def test_errors_have_anthropics_form() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [image]}]}, "'image'"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "'robot'"),
        ({"messages": [{"role": "user", "content": "x" * 5000}]}, "1024 tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"tools": [{"name": "f"}]}, "input_schema"),
        ({"tool_choice": {"type": "any"}}, "no tools are offered"),
        ({"tool_choice": {"type": "tool", "name": "f"}, "tools": TOOLS}, "'f'"),
        ({"stop_sequences": [""]}, "empty stop string"),
    ]
    async with serving(context_length=1024) as served:
        for fields, words in cases:
            with pytest.raises(anthropic.BadRequestError, match=words) as caught:
                await send(served, **fields)
            body: Any = caught.value.body
            assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error"
            assert body["request_id"] == caught.value.response.headers["request-id"]
        with pytest.raises(anthropic.NotFoundError, match="claude"):
            await served.anthropic.messages.create(model="claude", max_tokens=5, messages=ASK)
        reply = await served.http.get("/v1/messages")
        assert reply.status_code == 405 and reply.json()["error"]["type"] == "invalid_request_error"


async def test_a_failure_in_the_middle_is_an_error_event() -> None:
    async with serving(context_length=4096) as served:
        with pytest.raises(anthropic.APIStatusError, match="KeyError"):
            async for event in await send(served, stream=True):
                if event.type == "content_block_delta" and not served.model.failures:
                    served.model.failures.append(KeyError("secret"))


def test_blocks_become_messages() -> None:
    body = MessageRequest.model_validate(
        {
            "max_tokens": 5,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "so", "signature": "any"},
                        {"type": "redacted_thinking", "data": "x"},
                        {"type": "text", "text": "I look."},
                        {"type": "tool_use", "id": "t1", "name": "now", "input": {"zone": "CET"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "thanks"},
                        {
                            "type": "tool_result",
                            "tool_use_id": "t1",
                            "content": [{"type": "text", "text": "noon"}],
                        },
                    ],
                },
            ],
        }
    )
    user, answer, result, thanks = body.chat().messages
    assert isinstance(user, UserMessage) and user.content == "ab"
    assert isinstance(answer, AssistantMessage) and answer.tool_calls
    assert (answer.reasoning_content, answer.content) == ("so", "I look.")
    assert answer.tool_calls[0].function.arguments == {"zone": "CET"}
    assert isinstance(result, ToolMessage) and (result.content, result.tool_call_id) == ("noon", "t1")
    assert thanks.content == "thanks"


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(MessageRequest.model_fields)), json_values, max_size=4))
def test_any_values_become_a_chat_request_or_are_refused(fields: dict[str, object]) -> None:
    try:
        request = MessageRequest.model_validate({"max_tokens": 1, "messages": ASK} | fields)
    except ValidationError as error:
        assert error.errors()[0]["msg"]
    else:
        assert request.chat().messages
