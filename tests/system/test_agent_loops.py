"""Official clients run an agent to its end against a coordinator process, streamed and whole.

Each loop has two tools, three turns, parallel calls, and thinking that is given back between them.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.support.agent_script import (
    ANSWER,
    CALLS,
    QUESTION,
    SUBTRACT_SCHEMA,
    THOUGHTS,
    WEATHER_SCHEMA,
    run_tool,
)
from tests.support.paths import ROOT
from tests.support.tiny_model import MODEL_NAME

SCHEMAS = {"weather": WEATHER_SCHEMA, "subtract": SUBTRACT_SCHEMA}
Made = list[list[tuple[str, dict[str, Any]]]]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    command = [sys.executable, "-W", "error", "-m", "tests.support.scripted_coordinator"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        assert process.stdin and process.stdout
        yield process.stdout.readline().strip()
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("stream", [True, False])
def test_openai_chat(client: openai.OpenAI, stream: bool) -> None:
    tools: Any = [
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in SCHEMAS.items()
    ]
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    thoughts, made = list[str](), Made()
    while True:
        asked: Any = {"model": MODEL_NAME, "messages": messages, "tools": tools, "temperature": 0}
        if stream:
            with client.chat.completions.stream(**asked) as events:
                choice: Any = events.get_final_completion().choices[0]
        else:
            choice = client.chat.completions.create(**asked).choices[0]
        message = choice.message
        thoughts.append(message.reasoning_content)
        # What the stream helper adds of its own is no part of a message.
        kept = {"role", "content", "tool_calls", "reasoning_content"}
        messages.append(message.model_dump(include=kept, exclude_none=True))
        if choice.finish_reason != "tool_calls":
            break
        made.append(
            [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]
        )
        for call, (name, arguments) in zip(message.tool_calls, made[-1], strict=True):
            messages.append({"role": "tool", "tool_call_id": call.id, "content": run_tool(name, arguments)})
    assert (message.content, thoughts, made) == (ANSWER, list(THOUGHTS), CALLS)


@pytest.mark.parametrize("kept_by_server", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_openai_responses(client: openai.OpenAI, stream: bool, kept_by_server: bool) -> None:
    tools: Any = [
        {"type": "function", "name": name, "parameters": schema, "strict": False}
        for name, schema in SCHEMAS.items()
    ]
    items: list[Any] = [{"role": "user", "content": QUESTION}]
    asked: Any = {"model": MODEL_NAME, "tools": tools, "temperature": 0, "store": kept_by_server}
    thoughts, made = list[str](), Made()
    while True:
        if stream:
            with client.responses.stream(**asked, input=items) as events:
                for _ in events:
                    pass
                response: Any = events.get_final_response()
        else:
            response = client.responses.create(**asked, input=items)
        thoughts += [
            part.text for item in response.output if item.type == "reasoning" for part in item.content
        ]
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            break
        made.append([(call.name, json.loads(call.arguments)) for call in calls])
        results = [
            {"type": "function_call_output", "call_id": call.call_id, "output": run_tool(name, arguments)}
            for call, (name, arguments) in zip(calls, made[-1], strict=True)
        ]
        if kept_by_server:
            asked["previous_response_id"], items = response.id, results
        else:
            items += [item.model_dump(exclude_none=True) for item in response.output] + results
    assert (response.output_text, thoughts, made) == (ANSWER, list(THOUGHTS), CALLS)


@pytest.mark.parametrize("stream", [True, False])
def test_anthropic_messages(base_url: str, stream: bool) -> None:
    tools: Any = [{"name": name, "input_schema": schema} for name, schema in SCHEMAS.items()]
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    thoughts, made = list[str](), Made()
    with anthropic.Anthropic(base_url=base_url, api_key="none", max_retries=0) as client:
        while True:
            asked: Any = {
                "model": MODEL_NAME,
                "max_tokens": 2048,
                "messages": messages,
                "tools": tools,
                "thinking": {"type": "enabled", "budget_tokens": 1024},
            }
            if stream:
                with client.messages.stream(**asked) as events:
                    message: Any = events.get_final_message()
            else:
                message = client.messages.create(**asked)
            thoughts += [block.thinking for block in message.content if block.type == "thinking"]
            messages.append({"role": "assistant", "content": message.content})
            if message.stop_reason != "tool_use":
                break
            calls = [block for block in message.content if block.type == "tool_use"]
            made.append([(call.name, call.input) for call in calls])
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": run_tool(call.name, call.input)}
                for call in calls
            ]
            messages.append({"role": "user", "content": results})
    assert message.content[-1].text == ANSWER and message.stop_reason == "end_turn"
    assert (thoughts, made) == (list(THOUGHTS), CALLS)
