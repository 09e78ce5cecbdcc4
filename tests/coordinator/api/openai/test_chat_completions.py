"""Chat completions through the official client: whole, streamed, cancelled and failed."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from jangtq_coordinator.api.app import ApiSettings
from jangtq_coordinator.engine.engine_config import EngineSettings
from jangtq_proto.errors import WorkerUnreachableError
from tests.support.api_server import Served, serving
from tests.support.mlx_generation import stream_generate
from tests.support.running_engine import until
from tests.support.tiny_model import MODEL_NAME, load_tiny_tokenizer, make_model

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
QUIET = {"chat_template_kwargs": {"enable_thinking": False}}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as running:
        yield running


def stock_text(max_tokens: int, *, thinking: bool) -> str:
    """What stock mlx-lm answers to HELLO, likeliest tokens only."""
    prompt = load_tiny_tokenizer().apply_chat_template(
        list(HELLO), add_generation_prompt=True, enable_thinking=thinking
    )
    replies = stream_generate(make_model(), load_tiny_tokenizer(), prompt, max_tokens=max_tokens)
    return str(load_tiny_tokenizer().decode([reply.token for reply in replies]))


async def test_a_whole_answer(served: Served) -> None:
    answer = await served.openai.chat.completions.create(
        model=MODEL_NAME, messages=HELLO, max_tokens=12, temperature=0, extra_body=QUIET
    )
    (choice,) = answer.choices
    assert choice.message.content == stock_text(12, thinking=False)
    assert (choice.message.role, choice.finish_reason, choice.index) == ("assistant", "length", 0)
    assert (answer.object, answer.model) == ("chat.completion", MODEL_NAME)
    assert answer.usage and answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12
    assert answer.usage.completion_tokens_details
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


async def test_an_answer_that_begins_by_thinking_is_reasoning(served: Served) -> None:
    answer = await served.openai.chat.completions.create(
        model=MODEL_NAME, messages=HELLO, max_completion_tokens=9, temperature=0
    )
    message = answer.choices[0].message.model_dump()
    assert message["reasoning_content"] == stock_text(9, thinking=True)
    assert message["content"] == ""
    assert answer.usage and answer.usage.completion_tokens_details
    assert answer.usage.completion_tokens_details.reasoning_tokens == 9


async def test_a_stream_chunk_by_chunk(served: Served) -> None:
    stream = await served.openai.chat.completions.create(
        model=MODEL_NAME,
        messages=HELLO,
        max_tokens=12,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body=QUIET,
    )
    chunks = [chunk async for chunk in stream]
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    first, *middle, last, usage = chunks
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert "".join(c.choices[0].delta.content or "" for c in middle) == stock_text(12, thinking=False)
    assert all(c.choices[0].finish_reason is None and c.usage is None for c in (first, *middle))
    assert last.choices[0].finish_reason == "length" and not last.choices[0].delta.content
    assert usage.choices == [] and usage.usage and usage.usage.completion_tokens == 12


async def test_the_bytes_of_a_stream(served: Served) -> None:
    body = {"messages": HELLO, "max_tokens": 3, "temperature": 0, "stream": True}
    reply = await served.http.post("/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = reply.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(e.removeprefix("data: ")) for e in events[:-2] if not e.startswith(":")]
    assert [list(c["choices"][0]["delta"]) for c in chunks][:2] == [
        ["role", "content"],
        ["reasoning_content"],
    ]
    assert chunks[-1]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}
    assert not any("usage" in chunk for chunk in chunks)


async def test_streamed_and_whole_answers_agree_for_a_seed(served: Served) -> None:
    async def whole() -> str:
        answer = await served.openai.chat.completions.create(
            model=MODEL_NAME, messages=HELLO, max_tokens=60, seed=3, extra_body=QUIET
        )
        return answer.choices[0].message.content or ""

    async def streamed() -> str:
        stream = await served.openai.chat.completions.create(
            model=MODEL_NAME, messages=HELLO, max_tokens=60, seed=3, stream=True, extra_body=QUIET
        )
        return "".join([c.choices[0].delta.content or "" async for c in stream])

    texts = await asyncio.gather(whole(), streamed(), whole(), streamed())
    assert len(set(texts)) == 1 and texts[0]


@pytest.mark.parametrize("as_list", [True, False])
async def test_stop_strings(served: Served, as_list: bool) -> None:
    whole = stock_text(40, thinking=False)
    stop = whole[6:8]
    answer = await served.openai.chat.completions.create(
        model=MODEL_NAME,
        messages=HELLO,
        max_tokens=40,
        temperature=0,
        stop=[stop, "never in it"] if as_list else stop,
        extra_body=QUIET,
    )
    assert answer.choices[0].message.content == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


async def test_content_parts_and_earlier_reasoning_reach_the_template(served: Served) -> None:
    plain = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hello there"},
        {"role": "assistant", "content": "Hi", "reasoning_content": "greet"},
    ]
    parts = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "Hi", "reasoning": "greet"},
    ]
    without = [*plain[:2], {"role": "assistant", "content": "Hi"}]
    counts = []
    for messages in (plain, parts, without):
        body = {"messages": messages, "max_tokens": 1}
        reply = await served.http.post("/v1/chat/completions", json=body)
        counts.append(reply.json()["usage"]["prompt_tokens"])
    # <think> and </think> are one token each here, everything else one a byte.
    assert counts[0] == counts[1] == counts[2] + len("\ngreet\n\n\n") + 2


async def test_many_requests_share_steps(served: Served) -> None:
    async def ask() -> str:
        answer = await served.openai.chat.completions.create(
            model=MODEL_NAME, messages=HELLO, max_tokens=40, temperature=0, extra_body=QUIET
        )
        return answer.choices[0].message.content or ""

    texts = await asyncio.gather(*(ask() for _ in range(8)))
    assert set(texts) == {stock_text(40, thinking=False)}
    assert max(rows for rows, length in served.model.passes if length == 1) > 1


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_is_cancelled_within_a_step(served: Served, stream: bool) -> None:
    body = {"messages": HELLO, "max_tokens": 400, "temperature": 0, "stream": stream}
    async with httpx.AsyncClient(base_url=served.http.base_url) as client:
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await until(lambda: len(served.model.passes) >= 3)
        served.model.gate.clear()
        asking.cancel()
        await asyncio.wait([asking])
    # Told to the engine, which stands at the gate or has already obeyed.
    await until(lambda: served.engine.running == 0 or not served.engine._commands.empty())
    passes = len(served.model.passes)
    served.model.gate.set()
    await until(lambda: served.engine.running == 0)
    assert len(served.model.passes) - passes <= 1


async def test_a_client_that_leaves_a_long_prefill() -> None:
    async with serving(engine_settings=EngineSettings(prefill_rows=8)) as served:
        served.model.gate.clear()
        body = {"messages": [{"role": "user", "content": "x" * 300}], "stream": True}
        async with httpx.AsyncClient(base_url=served.http.base_url) as client:
            asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
            await until(lambda: served.engine.running == 1)
            asking.cancel()
            await asyncio.wait([asking])
        await until(lambda: not served.engine._commands.empty())
        served.model.gate.set()
        await until(lambda: served.engine.running == 0)
        assert len(served.model.passes) <= 1


async def test_a_long_prefill_keeps_the_stream_alive() -> None:
    settings = ApiSettings(keepalive_seconds=0.05)
    async with serving(settings=settings) as served:
        served.model.gate.clear()
        body = {"messages": HELLO, "max_tokens": 2, "stream": True}
        lines: list[str] = []
        async with served.http.stream("POST", "/v1/chat/completions", json=body) as reply:
            async for line in reply.aiter_lines():
                lines.append(line)
                if lines.count(": keep-alive") == 2:
                    served.model.gate.set()
    assert json.loads(lines[0].removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
    assert any(line.startswith(": prefill ") for line in lines)
    assert lines[-2:] == ["data: [DONE]", ""]


async def test_a_lost_worker_before_the_answer_is_a_503(served: Served) -> None:
    for stream in (False, True):
        served.model.failures.append(WorkerUnreachableError("10.0.0.2:7700 is gone"))
        with pytest.raises(openai.InternalServerError, match="10.0.0.2:7700 is gone") as caught:
            await served.openai.chat.completions.create(model=MODEL_NAME, messages=HELLO, stream=stream)
        assert caught.value.status_code == 503 and caught.value.code == "cluster_error"
    answer = await served.openai.chat.completions.create(model=MODEL_NAME, messages=HELLO, max_tokens=2)
    assert answer.usage and answer.usage.completion_tokens == 2


async def test_a_lost_worker_in_the_middle_ends_the_stream_with_its_error(served: Served) -> None:
    stream = await served.openai.chat.completions.create(
        model=MODEL_NAME, messages=HELLO, max_tokens=400, temperature=0, stream=True
    )
    with pytest.raises(openai.APIError, match="10.0.0.2:7700 is gone"):
        async for chunk in stream:
            if chunk.choices[0].delta.model_dump().get("reasoning_content") and not served.model.failures:
                served.model.failures.append(WorkerUnreachableError("10.0.0.2:7700 is gone"))


async def test_a_bug_is_a_500_that_hides_its_details(served: Served) -> None:
    served.model.failures.append(KeyError("secret"))
    with pytest.raises(openai.InternalServerError, match="KeyError") as caught:
        await served.openai.chat.completions.create(model=MODEL_NAME, messages=HELLO)
    assert caught.value.status_code == 500 and "secret" not in str(caught.value)
