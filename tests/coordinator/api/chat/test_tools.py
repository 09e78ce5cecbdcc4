"""Tools through the official client: offered, called, streamed, and their results given back."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from jangtq_coordinator.api.app import ApiSettings
from jangtq_coordinator.api.chat.chat_messages import AssistantMessage, ChatMessage, ToolMessage
from jangtq_coordinator.api.chat.chat_schema import ChatRequest
from jangtq_coordinator.api.chat.conversation import order_results
from jangtq_coordinator.api.chat.generation import message_for_template
from jangtq_coordinator.text.chat_template import ChatTemplate
from jangtq_coordinator.text.reasoning import ReasoningMarkers
from tests.support.api_server import Served, answering
from tests.support.tiny_model import MODEL_NAME, load_tiny_tokenizer

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Weather?"}]
TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
]
CALLS = (
    '\n<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city"> Köln\n</parameter>\n'
    '<parameter name="days">2</parameter>\n</invoke>\n<invoke name="now">\n</invoke>\n</minimax:tool_call>'
)
THOUGHT = "They ask.\n</think>\n\nI look."


async def ask(served: Served, **options: Any) -> Any:
    options = {"messages": ASK, "tools": TOOLS} | options
    create: Any = served.openai.chat.completions.create
    return await create(model=MODEL_NAME, temperature=0, **options)


def called(calls: Iterable[Any]) -> list[tuple[str, object]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


EXPECTED = [("weather", {"city": " Köln\n", "days": 2}), ("now", {})]


async def test_a_whole_answer_with_parallel_calls() -> None:
    async with answering(THOUGHT + CALLS) as served:
        (choice,) = (await ask(served)).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I look."
    assert choice.message.model_dump()["reasoning_content"] == "They ask."
    assert called(choice.message.tool_calls) == EXPECTED
    ids = [call.id for call in choice.message.tool_calls]
    assert len(set(ids)) == 2 and all(id.startswith("call_") for id in ids)


async def test_without_text_beside_the_calls_the_content_is_null() -> None:
    async with answering("They ask.\n</think>\n\n" + CALLS) as served:
        (choice,) = (await ask(served)).choices
    assert choice.message.content is None
    assert called(choice.message.tool_calls) == EXPECTED


async def test_a_stream_of_deltas() -> None:
    async with answering(THOUGHT + CALLS) as served:
        chunks = [chunk async for chunk in await ask(served, stream=True)]
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(delta.content or "" for delta in deltas) == "I look."
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    for index, (name, arguments) in enumerate(EXPECTED):
        first, *others = [call for call in calls if call.index == index]
        assert (first.function.name, first.function.arguments, first.type) == (name, "", "function")
        assert first.id.startswith("call_")
        assert not any(call.id or call.function.name for call in others)
        assert json.loads("".join(call.function.arguments for call in others)) == arguments


async def test_the_clients_own_stream_helper_agrees() -> None:
    async with answering(THOUGHT + CALLS) as served:
        manager = served.openai.chat.completions.stream(
            model=MODEL_NAME, messages=ASK, tools=TOOLS, temperature=0
        )
        async with manager as stream:
            (choice,) = (await stream.get_final_completion()).choices
    assert choice.message.tool_calls and called(choice.message.tool_calls) == EXPECTED


async def test_a_long_number_keeps_the_stream_alive() -> None:
    """Its tokens bring no data before its end shows what it is."""
    text = f'</think>\n\n<minimax:tool_call><invoke name="weather"><parameter name="days">{"1" * 400}'
    settings = ApiSettings(keepalive_seconds=0.1)
    async with answering(f"{text}</parameter></invoke></minimax:tool_call>", settings=settings) as served:
        body = {"messages": ASK, "tools": TOOLS, "temperature": 0, "stream": True}
        reply = await served.http.post("/v1/chat/completions", json=body)
    assert ": keep-alive" in reply.text[reply.text.index("days") : reply.text.index("1" * 400)]


@pytest.mark.parametrize("options", [{"tools": []}, {"tool_choice": "none"}])
async def test_calls_are_text_when_none_were_offered(options: dict[str, object]) -> None:
    async with answering(THOUGHT + CALLS) as served:
        (choice,) = (await ask(served, **options)).choices
    assert (choice.message.content, choice.finish_reason) == ("I look." + CALLS, "stop")
    assert choice.message.tool_calls is None


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("limited", [True, False])
async def test_a_call_that_is_not_closed(limited: bool, stream: bool) -> None:
    """A limit leaves its arguments cut; where the model ends its answer, the call ends with it."""
    cut = CALLS[: CALLS.index("</parameter>") + 8]
    limit = {"max_tokens": len((THOUGHT + cut).encode())} if limited else {}
    async with answering(THOUGHT + (CALLS if limited else cut)) as served:
        answer = await ask(served, stream=stream, **limit)
        parts = [c.choices[0] async for c in answer] if stream else answer.choices
    messages = [part.delta if stream else part.message for part in parts]
    assert "".join(message.content or "" for message in messages) == "I look."
    assert parts[-1].finish_reason == ("length" if limited else "tool_calls")
    arguments = "".join(call.function.arguments for m in messages for call in m.tool_calls or ())
    assert arguments == '{"city": " Köln\\n' + ("" if limited else '"}')


async def test_an_answer_cut_in_a_later_call_keeps_the_first() -> None:
    async with answering(THOUGHT + CALLS) as served:
        (choice,) = (await ask(served, max_tokens=len((THOUGHT + CALLS).encode()) - 70)).choices
    assert choice.finish_reason == "length"
    assert called(choice.message.tool_calls) == EXPECTED[:1]


async def test_arguments_come_while_the_model_writes_them() -> None:
    """The value is longer than the answer may be, so its call never ends."""
    text = f'</think>\n\n<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city">{"x" * 100}'
    async with answering(text) as served:
        chunks = [chunk.choices[0].delta async for chunk in await ask(served, max_tokens=150, stream=True)]
    fragments = [call.function.arguments for delta in chunks for call in delta.tool_calls or ()]
    assert fragments[:4] == ["", '{"city": ', '"x', "x"] and fragments.count("x") > 50


async def test_results_go_back_to_the_model() -> None:
    """The whole loop: calls, results, and the answer to them, each turn with the official client."""
    async with answering(THOUGHT + CALLS) as served:
        first = (await ask(served)).choices[0].message
        results = [{"role": "tool", "tool_call_id": c.id, "content": "sun"} for c in first.tool_calls]
        messages = [*ASK, first.model_dump(exclude_none=True), *results]
        (choice,) = (await ask(served, messages=messages)).choices
    assert called(choice.message.tool_calls) == EXPECTED


def rendered(messages: Sequence[object], tools: Sequence[object] = ()) -> str:
    body = ChatRequest.model_validate({"messages": messages, "tools": tools})
    template = ChatTemplate(load_tiny_tokenizer(), ReasoningMarkers())
    prompt = template.render(
        [message_for_template(message) for message in order_results(body.messages)],
        tools=[tool.model_dump(exclude_unset=True) for tool in body.offered_tools],
    )
    return str(load_tiny_tokenizer().decode(list(prompt.tokens)))


@pytest.mark.parametrize("arguments", [{"city": " Köln\n", "days": 2}, '{"city": " Köln\\n", "days": 2}'])
def test_the_next_prompt_repeats_the_answer(arguments: object) -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "weather", "arguments": arguments}},
        {"id": "b", "type": "function", "function": {"name": "now", "arguments": ""}},
    ]
    answer = {
        "role": "assistant",
        "content": "I look.",
        "reasoning_content": "They ask.",
        "tool_calls": calls,
    }
    results = [
        {"role": "tool", "tool_call_id": "b", "content": "noon"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "sun"}]},
    ]
    prompt = rendered([*ASK, answer, *results], TOOLS)
    assert f"]~b]ai\n<think>\n{THOUGHT}{CALLS}[e~[\n" in prompt
    # In the order of the calls: the template shows no ids.
    assert "]~b]tool\n<response>sun</response>\n<response>noon</response>[e~[\n" in prompt
    assert f"<tool>{json.dumps(TOOLS[0]['function'])}</tool>" in prompt


def test_results_of_no_known_call_come_last() -> None:
    messages: list[ChatMessage] = [
        AssistantMessage.model_validate(
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {}}}]}
        ),
        *(ToolMessage(role="tool", content=text, tool_call_id=id) for text, id in [("x", "?"), ("y", "a")]),
    ]
    assert [message.content for message in order_results(messages)] == [None, "y", "x"]
