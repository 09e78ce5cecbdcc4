"""What Claude Code sends: late system messages, a billing line, and turns on one long prompt."""

import secrets
from typing import Any

import pytest

from jangtq_coordinator.api.anthropic.messages_schema import MessageRequest
from jangtq_coordinator.api.anthropic.system_text import join_system
from jangtq_coordinator.api.chat.chat_messages import (
    AssistantMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from tests.support.api_server import Served, answering
from tests.support.tiny_model import MODEL_NAME, load_tokenizer_with_template

RULES = "Follow the rules of this house, be brief, and ask before you delete anything. " * 18
TOOLS: Any = [{"name": "look", "description": "x", "input_schema": {"type": "object", "properties": {}}}]
SPOKEN = '</think>\n\n\n<minimax:tool_call>\n<invoke name="look">\n</invoke>\n</minimax:tool_call>'


def say(prompt: str) -> str:
    """A call first, and an answer once it has a result."""
    text = "Done." if "<response>" in prompt else SPOKEN.removeprefix("</think>\n\n")
    return ("Hm.\n</think>\n\n" if prompt.rstrip().endswith("<think>") else "") + text


def turn(messages: list[Any], **more: Any) -> dict[str, Any]:
    head = f"x-anthropic-billing-header: cc_version=2.1.197; cch={secrets.token_hex(3)};"
    system = [{"type": "text", "text": head}, {"type": "text", "text": RULES}]
    return {
        "model": MODEL_NAME,
        "max_tokens": 200,
        "system": system,
        "tools": TOOLS,
        "messages": messages,
    } | more


async def ask(served: Served, messages: list[Any], **more: Any) -> Any:
    create: Any = served.anthropic.messages.create
    return await create(**turn(messages, **more))


@pytest.mark.parametrize("thinking", [{"type": "disabled"}, {"type": "enabled", "budget_tokens": 1024}])
async def test_the_second_turn_computes_only_what_is_new(thinking: Any) -> None:
    """On a prompt of 1,500 tokens, with another billing line and a reminder after the result."""
    messages: list[Any] = [{"role": "user", "content": "Look around."}]
    async with answering(say) as served:
        first = await ask(served, messages, thinking=thinking)
        call = first.content[-1]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "dust"}
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        messages += [{"role": "system", "content": "You have 3 todos."}]
        second = await ask(served, messages, thinking=thinking)
    assert first.stop_reason == "tool_use" and second.content[-1].text == "Done."
    known, new = second.usage.cache_read_input_tokens, second.usage.input_tokens
    assert first.usage.input_tokens >= 1500
    # All of the first turn but its end token; new are the result, the reminder and the turn's tags.
    assert known >= first.usage.input_tokens + first.usage.output_tokens - 2
    assert new < 120


async def test_start_and_end_of_a_stream_agree_on_usage() -> None:
    messages = [{"role": "user", "content": "Look around."}]
    async with answering(say) as served:
        for cached in (False, True):
            events = [event async for event in await ask(served, messages, stream=True)]
            start, end = events[0].message.usage, events[-2].usage
            assert start.input_tokens == end.input_tokens
            assert start.cache_read_input_tokens == end.cache_read_input_tokens
            assert bool(start.cache_read_input_tokens) is cached


async def test_nobody_gets_thinking_that_they_did_not_ask_for_with_a_template_that_always_reasons() -> None:
    tokenizer = load_tokenizer_with_template()
    messages: Any = [{"role": "user", "content": "Hi"}]
    thought = "<think>\nHm.\n</think>\n\nHello."
    async with answering(lambda prompt: thought, tokenizer=tokenizer) as served:
        for more in ({}, {"thinking": {"type": "disabled"}}):
            body = {"messages": messages, "max_tokens": 100, **more}
            whole = (await served.http.post("/v1/messages", json=body)).json()
            assert [(block["type"], block.get("text")) for block in whole["content"]] == [("text", "Hello.")]
            stream = (await served.http.post("/v1/messages", json=body | {"stream": True})).text
            assert "thinking" not in stream and '"index":0' in stream and '"index":1' not in stream


async def test_thinking_that_is_not_displayed_comes_back_in_its_signature() -> None:
    messages: Any = [{"role": "user", "content": "Hi"}]
    thinking = {"type": "adaptive", "display": "omitted"}
    async with answering("Hm.\n</think>\n\nHello.") as served:
        body = {"messages": messages, "max_tokens": 100, "thinking": thinking}
        block, text = (await served.http.post("/v1/messages", json=body)).json()["content"]
    assert (block["type"], block["thinking"], text["text"]) == ("thinking", "", "Hello.")
    kept = {"role": "assistant", "content": [block, text]}
    request = MessageRequest.model_validate({"messages": [*messages, kept], "max_tokens": 1})
    answer = request.chat().messages[-1]
    assert isinstance(answer, AssistantMessage) and answer.thoughts == "Hm."


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("Be brief.", "Be brief."),
        ("x-anthropic-billing-header: cch=1;", ""),
        ("x-anthropic-billing-header: cch=1;\n\nBe brief.", "Be brief."),
        (
            [{"type": "text", "text": "x-anthropic-billing-header: cch=1;"}, {"type": "text", "text": "A"}],
            "A",
        ),
        ([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}], "A\n\nB"),
        (
            "About the x-anthropic-billing-header: it bills.",
            "About the x-anthropic-billing-header: it bills.",
        ),
    ],
)
def test_the_billing_line_is_no_instruction(system: Any, text: str) -> None:
    assert join_system(system) == text


async def test_a_last_message_of_the_assistant_is_continued() -> None:
    messages: Any = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "It is"}]
    async with answering(lambda prompt: "It is warm." if prompt.endswith("ai\n") else "no") as served:
        for path in ("/v1/messages", "/v1/chat/completions"):
            body = {"messages": messages, "max_tokens": 100, "temperature": 0}
            told = (await served.http.post(path, json=body)).json()
            said = told["content"] if "content" in told else told["choices"][0]["message"]
            assert (said[0]["text"] if isinstance(said, list) else said["content"]) == " warm."
        body = {"messages": messages, "temperature": 0, "continue_final_message": False}
        told = (await served.http.post("/v1/chat/completions", json=body)).json()
        assert told["choices"][0]["message"]["content"] != " warm."


SERVER_TOOLS: Any = [
    {"type": "web_search_20250305", "name": "web_search"},
    {"type": "bash_20250124", "name": "bash"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
]


def test_everything_that_the_sdk_can_send_is_taken_or_refused_by_name() -> None:
    blocks: Any = [
        {"type": "text", "text": "a"},
        {
            "type": "document",
            "title": "T",
            "source": {"type": "text", "media_type": "text/plain", "data": "b"},
        },
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "c"}]}},
        {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "d"}]},
    ]
    answer: Any = [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s1",
            "content": [{"url": "u", "encrypted_content": "x"}],
        },
        {"type": "tool_use", "id": "t1", "name": "look", "input": {}},
    ]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
    parts = [image, {"type": "tool_reference", "tool_name": "look"}, {"type": "text", "text": "e"}]
    result = {"type": "tool_result", "tool_use_id": "t1", "content": parts}
    body = {
        "max_tokens": 5,
        "tools": [*TOOLS, *SERVER_TOOLS],
        "system": [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "between_tools"},
        "messages": [
            {"role": "user", "content": blocks},
            {"role": "assistant", "content": answer},
            {"role": "user", "content": [result]},
            {"role": "system", "content": [{"type": "text", "text": "B"}]},
        ],
    }
    request = MessageRequest.model_validate(body).chat()
    assert [tool.function.name for tool in request.offered_tools] == ["look"]
    system, user, said, told, late = request.messages
    assert isinstance(system, SystemMessage) and isinstance(late, SystemMessage)
    assert isinstance(user, UserMessage) and user.content == "aT\nbct\ns\nd"
    assert isinstance(said, AssistantMessage) and '[server_tool_use] {"name": "web_search"' in said.said
    assert isinstance(told, ToolMessage)
    left_out = [f"[{kind} left out: this model reads text only]" for kind in ("image", "tool_reference")]
    assert told.content == "".join((*left_out, "e"))
