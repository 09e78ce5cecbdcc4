"""Whatever is wrong with a request, its answer has OpenAI's error form, and the server goes on."""

import asyncio
import json
from collections.abc import AsyncIterator

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jangtq_coordinator.api.admin.health import ClusterHealth
from jangtq_coordinator.api.app import ApiSettings
from jangtq_coordinator.api.chat.chat_schema import ChatRequest
from tests.support.api_server import Served, serving
from tests.support.tiny_model import CONTEXT_LENGTH, MODEL_NAME

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(settings=ApiSettings(max_body_bytes=20_000)) as running:
        yield running


async def error_of(served: Served, body: object, status: int = 400) -> dict[str, str | None]:
    """The error that `body` gets."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = await served.http.post(
        "/v1/chat/completions", content=content, headers={"content-type": "application/json"}
    )
    assert reply.status_code == status, reply.text
    error: dict[str, str | None] = reply.json()["error"]
    assert set(reply.json()) == {"error"} and set(error) == {"message", "type", "param", "code"}
    assert error["message"] and error["type"]
    return error


def chat(**fields: object) -> dict[str, object]:
    return {"messages": HELLO, "max_tokens": 2} | fields


def schema_format(schema: object) -> dict[str, object]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


WRONG_FIELDS: list[tuple[dict[str, object], str, str]] = [
    ({"messages": []}, "messages", "at least 1"),
    ({"messages": "Hello"}, "messages", "valid list, not 'Hello'"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0", "'robot'"),
    ({"messages": [{"content": "x"}]}, "messages.0", "role"),
    ({"messages": [{"role": "user"}]}, "messages.0.user.content", "required"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.user.content", "valid string, not 5"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.user.content", "object"),
    ({"temperature": "hot"}, "temperature", "'hot'"),
    ({"temperature": 2.5}, "temperature", "2, not 2.5"),
    ({"top_p": -1}, "top_p", "0, not -1"),
    ({"top_k": 1.5}, "top_k", "1.5"),
    ({"max_tokens": 0}, "max_tokens", "1, not 0"),
    ({"max_tokens": "5"}, "max_tokens", "integer, not '5'"),
    ({"max_tokens": True}, "max_tokens", "integer, not True"),
    ({"stop": ""}, "stop", "empty stop string"),
    ({"stop": ["x"] * 17}, "stop", "17 stop strings"),
    ({"stream": "yes"}, "stream", "boolean, not 'yes'"),
    ({"stream_options": 1}, "stream_options", "1"),
    ({"n": 17}, "n", "16, not 17"),
    ({"audio": {"voice": "x"}}, "audio", "not supported by this server"),
    ({"modalities": ["audio"]}, "modalities", "only ['text']"),
    ({"tools": [{"type": "function"}]}, "tools.0.function", "required"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name", "a b"),
    ({"tool_choice": "required"}, "tool_choice", "a call is required and no tools are offered"),
    (
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        "tool_choice",
        "no function 'f' is offered",
    ),
    ({"tool_choice": "any"}, "tool_choice", "allowed are 'none', 'auto', 'required'"),
    ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice", "allowed_tools needs a mode"),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice", "allowed are 'none', 'auto', 'required'"),
    ({"top_logprobs": 2}, "top_logprobs", "only allowed with logprobs: true"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "only allowed with stream: true"),
    ({"continue_final_message": True}, "continue_final_message", "must be an assistant's"),
    ({"add_generation_prompt": False}, "add_generation_prompt", "is continued"),
    ({"structured_outputs": {"tag": "x"}}, "structured_outputs.tag", "cannot be obeyed"),
    ({"guided_json": {}, "guided_choice": ["a"]}, "guided_json and guided_choice", "one of them only"),
    ({"guided_choice": ["a"], "ignore_eos": True}, "ignore_eos", "ends where that says"),
    ({"guided_regex": "("}, "guided_regex", "cannot be followed"),
    ({"grammar": "root ::= nothing"}, "grammar", ""),
    ({"stop_token_ids": [99999]}, "stop_token_ids", "token 99999: the vocabulary has"),
    ({"prompt_logprobs": 1}, "prompt_logprobs", "not supported by this server"),
    ({"echo": True}, "echo", "not supported by this server"),
    ({"chat_template": "x"}, "chat_template", "not supported by this server"),
    ({"logprobs": 5}, "logprobs", "5"),
    ({"top_logprobs": 21}, "top_logprobs", "20, not 21"),
    ({"logit_bias": {"x": 1}}, "logit_bias", "'x' is not a token id"),
    ({"logit_bias": {"99999": 1}}, "logit_bias", "token 99999: the vocabulary has"),
    ({"logit_bias": {"5": 101}}, "logit_bias.5", "100, not 101"),
    ({"presence_penalty": 3}, "presence_penalty", "2, not 3"),
    ({"repetition_penalty": 0}, "repetition_penalty", "0, not 0"),
    ({"response_format": {"type": "xml"}}, "response_format", "'xml'"),
    ({"response_format": schema_format({"type": "strin"})}, "response_format", "strin"),
    ({"response_format": schema_format({"not": {}})}, "response_format", "not"),
]


async def test_wrong_fields(served: Served) -> None:
    for fields, param, words in WRONG_FIELDS:
        error = await error_of(served, chat(**fields))
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
        assert words in (error["message"] or "")


async def test_images_are_refused_clearly(served: Served) -> None:
    image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}
    error = await error_of(served, chat(messages=[{"role": "user", "content": [image]}]))
    assert "'image_url' is not supported: this model reads text only" in (error["message"] or "")


NEUTRAL: dict[str, tuple[object, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "min_p": (0,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "top_logprobs": (0,),
}


async def test_values_that_ask_for_nothing_are_accepted(served: Served) -> None:
    for name, values in NEUTRAL.items():
        for value in (None, *values):
            reply = await served.http.post("/v1/chat/completions", json=chat(**{name: value}))
            assert reply.status_code == 200, reply.text
    reply = await served.http.post("/v1/chat/completions", json=chat(user="me", store=False, metadata={}))
    assert reply.status_code == 200


MALFORMED = (
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b"5",
    b"null",
    b'{"messages": NaN}',
    b"[" * 10_000,
    b'"' + b"x" * 100,
)


async def test_malformed_bodies(served: Served) -> None:
    for body in MALFORMED:
        error = await error_of(served, body)
        assert error["type"] == "invalid_request_error"


async def test_lone_surrogates_are_refused(served: Served) -> None:
    error = await error_of(served, b'{"messages": [{"role": "user", "content": "x\\ud800"}]}')
    assert "lone surrogate at character 1" in (error["message"] or "")
    await error_of(served, b'{"model": "\\ud800", "messages": [{"role": "user", "content": "x"}]}', 404)


async def test_bodies_above_the_limit(served: Served) -> None:
    large = json.dumps(chat(padding="x" * 20_000)).encode()
    error = await error_of(served, large, 413)
    assert "20000 bytes" in (error["message"] or "")

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 1000):
            yield large[start : start + 1000]

    reply = await served.http.post(
        "/v1/chat/completions", content=in_pieces(), headers={"content-type": "application/json"}
    )
    assert reply.status_code == 413 and reply.json()["error"]["message"]


async def test_an_unknown_model(served: Served) -> None:
    with pytest.raises(openai.NotFoundError, match=f"'gpt-4' is not served here.*'{MODEL_NAME}'") as caught:
        await served.openai.chat.completions.create(
            model="gpt-4", messages=[{"role": "user", "content": "Hello"}]
        )
    assert caught.value.code == "model_not_found"


async def test_a_prompt_beyond_the_context_names_both_numbers(served: Served) -> None:
    long = {"role": "user", "content": "x" * 2000}
    error = await error_of(served, chat(messages=[long]))
    assert error["code"] == "context_length_exceeded"
    tokens = 2000 + int((await prompt_tokens(served)) - len("Hello"))
    assert f"{tokens} tokens" in (error["message"] or "")
    assert f"{CONTEXT_LENGTH} tokens" in (error["message"] or "")


async def prompt_tokens(served: Served) -> int:
    reply = await served.http.post("/v1/chat/completions", json=chat())
    return int(reply.json()["usage"]["prompt_tokens"])


async def test_template_variables_cannot_replace_the_servers_own(served: Served) -> None:
    for name in ("chat_template", "tokenize", "messages"):
        error = await error_of(served, chat(chat_template_kwargs={name: "{{ 1 }}"}))
        assert name in (error["message"] or "")


async def test_unknown_routes_and_methods(served: Served) -> None:
    for reply, status in (
        (await served.http.get("/v1/nothing"), 404),
        (await served.http.get("/v1/chat/completions"), 405),
    ):
        assert reply.status_code == status
        assert reply.request.url.path in reply.json()["error"]["message"]


async def test_models(served: Served) -> None:
    models = [model async for model in served.openai.models.list()]
    assert [model.id for model in models] == [MODEL_NAME]
    assert (await served.openai.models.retrieve(MODEL_NAME)).object == "model"
    with pytest.raises(openai.NotFoundError):
        await served.openai.models.retrieve("a/b")


async def test_health_follows_the_engine_and_the_cluster() -> None:
    cluster = ClusterHealth(serving=True, details={"workers": 2})
    async with serving(cluster_health=lambda: cluster) as served:
        reply = await served.http.get("/health")
        assert reply.status_code == 200
        assert reply.json() == {
            "status": "ok",
            "engine": "ready",
            "draining": False,
            "model": MODEL_NAME,
            "requests": 0,
            "dense": {"products": "MLX", "nbytes": 0},
            "cluster": {"workers": 2},
        }
        cluster = ClusterHealth(serving=False, details={"missing": "0-127"})
        reply = await served.http.get("/health")
        assert (reply.status_code, reply.json()["status"]) == (503, "degraded")
        assert await probes(served) == (200, 503)
        await asyncio.to_thread(served.engine.stop)
        reply = await served.http.get("/health")
        assert (reply.status_code, reply.json()["status"]) == (503, "stopped")
        assert await probes(served) == (200, 503)
        error = await error_of(served, chat(), 503)
        assert error["code"] == "engine_unavailable"


async def probes(served: Served) -> tuple[int, ...]:
    """The status of liveness and readiness."""
    return tuple([(await served.http.get(f"/health/{name}")).status_code for name in ("live", "ready")])


async def test_the_api_description_names_the_routes(served: Served) -> None:
    paths = (await served.http.get("/openapi.json")).json()["paths"]
    assert {"/v1/chat/completions", "/v1/models", "/health"} <= set(paths)
    assert (await served.http.get("/docs")).status_code == 404


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(ChatRequest.model_fields)), json_values, max_size=4))
def test_any_values_are_accepted_or_refused_in_words(fields: dict[str, object]) -> None:
    """Nothing but a ValidationError may come out of the checks."""
    try:
        request = ChatRequest.model_validate({"messages": HELLO} | fields)
    except ValidationError as error:
        assert error.errors()[0]["msg"]
    else:
        assert all(request.stops) and request.messages
