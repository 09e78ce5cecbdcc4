"""What changes an answer is obeyed, under the names that vLLM, SGLang and llama-server give it."""

import json
import re
from typing import Any

import pytest

from tests.support.api_server import answering, serving
from tests.support.tiny_model import load_tiny_tokenizer

ASK: Any = {"messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": "none", "max_tokens": 300}
FORMS: list[tuple[dict[str, object], str]] = [
    ({"guided_choice": ["left", "right"]}, "left|right"),
    ({"structured_outputs": {"choice": ["a.b", "c"]}}, r"a\.b|c"),
    ({"guided_regex": "[ab]{3}/x"}, "[ab]{3}/x"),
    ({"regex": "[0-9]{2}"}, "[0-9]{2}"),
    ({"structured_outputs": {"regex": "x{4}"}}, "x{4}"),
    ({"guided_json": {"enum": [1, 2]}}, "1|2"),
    ({"json_schema": '{"enum": [3]}'}, "3"),
    ({"structured_outputs": {"json": {"const": "z"}}}, '"z"'),
    ({"guided_grammar": 'start: "yes" | "no"'}, "yes|no"),
    ({"grammar": 'root ::= "ja" | "nein"'}, "ja|nein"),
    ({"ebnf": 'root ::= [a-c] "!"'}, "[a-c]!"),
]


async def test_forms_are_followed_by_chat_and_completions() -> None:
    async with serving(context_length=4096) as served:
        for fields, pattern in FORMS:
            told = (await served.http.post("/v1/chat/completions", json=ASK | fields)).json()
            assert re.fullmatch(pattern, told["choices"][0]["message"]["content"]), (fields, told)
            body = {"prompt": "Hi", "max_tokens": 100} | fields
            told = (await served.http.post("/v1/completions", json=body)).json()
            assert re.fullmatch(pattern, told["choices"][0]["text"]), (fields, told)


async def test_a_form_waits_for_the_reasoning_to_end() -> None:
    body = {"messages": ASK["messages"], "guided_grammar": 'start: "yes" | "no"', "max_tokens": 100}
    async with answering("Hm.\n</think>\n\nmaybe") as served:
        message = (await served.http.post("/v1/chat/completions", json=body)).json()["choices"][0]["message"]
    assert message["reasoning_content"] == "Hm." and message["content"].strip() in ("yes", "no")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_ends_that_are_withheld_or_added(path: str) -> None:
    asked = (
        {"prompt": "]~b]ai\n", "temperature": 0}
        if path.endswith("/completions") and "chat" not in path
        else ASK
    )
    end = load_tiny_tokenizer().encode("o", add_special_tokens=False)
    async with answering("Hello.") as served:
        for fields, tokens in (
            ({}, 7),
            ({"ignore_eos": True, "max_tokens": 40}, 40),
            ({"min_tokens": 20, "max_tokens": 60}, range(20, 61)),
            ({"stop_token_ids": end}, 5),
            ({"stop_token_ids": end, "min_tokens": 6}, range(6, 301)),
        ):
            body = asked | {"max_tokens": 300, "temperature": 0} | fields
            told = (await served.http.post(path, json=body)).json()
            count = told["usage"]["completion_tokens"]
            assert count in tokens if isinstance(tokens, range) else count == tokens, (fields, told)


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_effort": "none"},
        {"reasoning": {"effort": "none"}},
        {"reasoning": {"enabled": False}},
        {"enable_thinking": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
)
async def test_reasoning_can_be_switched_off(fields: dict[str, object]) -> None:
    async with answering(lambda prompt: f"{prompt.rstrip().endswith('<think>')}") as served:
        body = {"messages": ASK["messages"]} | fields
        message = (await served.http.post("/v1/chat/completions", json=body)).json()["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("False", None)


async def test_usage_in_every_chunk() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    async with answering("Hello there.") as served:
        body = ASK | {"stream": True, "stream_options": options}
        text = (await served.http.post("/v1/chat/completions", json=body)).text
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts) and counts[-1] == len("Hello there.") + 1


async def test_logprobs_join_to_the_content() -> None:
    async with answering("Hm.\n</think>\n\n46.") as served:
        body = {"messages": ASK["messages"], "logprobs": True}
        (choice,) = (await served.http.post("/v1/chat/completions", json=body)).json()["choices"]
        assert (
            "".join(one["token"] for one in choice["logprobs"]["content"])
            == choice["message"]["content"]
            == "46."
        )
        text = (await served.http.post("/v1/chat/completions", json=body | {"stream": True})).text
        chunks = [
            json.loads(line[6:])["choices"][0] for line in text.splitlines() if line.startswith("data: {")
        ]
        told = [one for chunk in chunks if chunk["logprobs"] for one in chunk["logprobs"]["content"]]
        assert "".join(one["token"] for one in told) == "46."
        asked = {"input": "Hi", "include": ["message.output_text.logprobs"]}
        part = (await served.http.post("/v1/responses", json=asked)).json()["output"][-1]["content"][0]
        assert "".join(one["token"] for one in part["logprobs"]) == part["text"] == "46."
