"""The form of chat completions, check by check: streams, usage, errors, tool choice, ids, packet sizes.

The questions are those of MiniMax's provider verifier, put in our own words. All share one server; its model
says what the last user message asks for.
"""

import asyncio
import json
from typing import Any, Final

import httpx
import pytest

from tests.support.api_server import answering
from tests.support.tiny_model import MODEL_NAME

LONG: Final = "The quick brown fox jumps over the lazy dog, and so it goes on. " * 4
EMOJI: Final = "Look: 🌍👩‍🚀 and 日本語 too."
CALL: Final = (
    '\n<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city">Köln</parameter>\n'
    "</invoke>\n</minimax:tool_call>"
)
SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS: Final = [
    {"type": "function", "function": {"name": name, "description": "x", "parameters": SCHEMA}}
    for name in ("weather", "forecast")
]
FORECAST: Final = {"type": "function", "function": {"name": "forecast"}}
SAYINGS: Final = {
    "long": LONG,
    "emoji": EMOJI,
    "call": f"I look.{CALL}",
    "two": CALL + CALL,
}
Body = dict[str, Any]


def say(prompt: str) -> str:
    turn = prompt.rpartition("]~b]user\n")[2].partition("[e~[")[0].split()
    thought = "I think of it, word by word.\n</think>\n\n" if prompt.rstrip().endswith("<think>") else ""
    return thought + SAYINGS.get(turn[-1] if turn else "", "Hello.")


@pytest.fixture(scope="module")
def form() -> Any:
    """One server in a loop of its own, for all checks; `form(body)` is its reply."""
    loop = asyncio.new_event_loop()
    context = answering(say)
    served = loop.run_until_complete(context.__aenter__())

    def ask(body: Body, path: str = "/v1/chat/completions") -> httpx.Response:
        return loop.run_until_complete(served.http.post(path, json={"model": MODEL_NAME} | body))

    yield ask
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


def asking(word: str, **more: Any) -> Body:
    return {"messages": [{"role": "user", "content": word}], "temperature": 0} | more


def chunks_of(reply: httpx.Response) -> list[Body]:
    """The chunks of a stream, which must end with [DONE]."""
    assert reply.status_code == 200, reply.text
    events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]" and events.count("[DONE]") == 1
    return [json.loads(event) for event in events[:-1]]


def stream(form: Any, word: str, **more: Any) -> list[Body]:
    return chunks_of(form(asking(word, stream=True, stream_options={"include_usage": True}, **more)))


def deltas(chunks: list[Body]) -> list[Body]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def joined(chunks: list[Body], member: str) -> str:
    return "".join(delta.get(member) or "" for delta in deltas(chunks))


STREAMED: Final[list[tuple[str, Body]]] = [
    ("hello", {}),
    ("long", {}),
    ("emoji", {}),
    ("call", {"tools": TOOLS}),
    ("two", {"tools": TOOLS}),
]


@pytest.fixture(scope="class")
def chunks(form: Any, word: str, more: Body) -> list[Body]:
    return stream(form, word, **more)


@pytest.mark.parametrize(("word", "more"), STREAMED, ids=[word for word, _ in STREAMED], scope="class")
class TestStreams:
    """What holds of every stream."""

    def test_one_id_model_and_time(self, chunks: list[Body]) -> None:
        assert len({(c["id"], c["model"], c["created"], c["object"]) for c in chunks}) == 1
        assert chunks[0]["object"] == "chat.completion.chunk" and chunks[0]["id"]

    def test_the_role_comes_once_and_first(self, chunks: list[Body]) -> None:
        assert deltas(chunks)[0]["role"] == "assistant"
        assert not any("role" in delta for delta in deltas(chunks)[1:])

    def test_one_finish_reason_in_the_last_chunk_with_a_choice(self, chunks: list[Body]) -> None:
        reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
        assert reasons[-1] in ("stop", "tool_calls") and not any(reasons[:-1])

    def test_usage_comes_once_and_last(self, chunks: list[Body]) -> None:
        assert chunks[-1]["usage"] and chunks[-1]["choices"] == []
        assert not any(chunk.get("usage") for chunk in chunks[:-1])

    def test_usage_adds_up(self, chunks: list[Body]) -> None:
        usage = chunks[-1]["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]
        assert 0 <= usage["prompt_tokens_details"]["cached_tokens"] <= usage["prompt_tokens"]

    def test_content_and_reasoning_never_share_a_delta(self, chunks: list[Body]) -> None:
        for delta in deltas(chunks):
            told = [name for name in ("content", "reasoning_content", "tool_calls") if delta.get(name)]
            assert len(told) <= 1

    def test_reasoning_comes_before_content_and_calls(self, chunks: list[Body]) -> None:
        kinds = ["r" if d.get("reasoning_content") else "c" for d in deltas(chunks)[1:-1]]
        assert "".join(kinds).strip("c").strip("r") == "" and kinds[0] == "r"

    def test_no_markup_leaks(self, chunks: list[Body]) -> None:
        told = joined(chunks, "content") + joined(chunks, "reasoning_content")
        assert not any(mark in told for mark in ("<think>", "</think>", "minimax:tool_call", "[e~["))

    def test_no_character_is_cut(self, chunks: list[Body]) -> None:
        assert "\ufffd" not in json.dumps(chunks, ensure_ascii=False)

    def test_it_says_the_same_as_the_whole_answer(
        self, form: Any, chunks: list[Body], word: str, more: Body
    ) -> None:
        message = form(asking(word, **more)).json()["choices"][0]["message"]
        assert joined(chunks, "content") == (message["content"] or "")
        assert joined(chunks, "reasoning_content") == message["reasoning_content"]

    def test_packets_are_neither_tiny_nor_huge(self, chunks: list[Body]) -> None:
        for member in ("content", "reasoning_content"):
            sizes = [len(delta[member]) for delta in deltas(chunks) if delta.get(member)]
            assert sum(size < 5 for size in sizes) <= max(2, 0.05 * len(sizes))
            assert not any(size > 200 for size in sizes)


def test_long_streams_have_few_tiny_packets(form: Any) -> None:
    sizes = [len(delta["content"]) for delta in deltas(stream(form, "long")) if delta.get("content")]
    assert sum(size < 5 for size in sizes) <= 0.05 * len(sizes)


@pytest.fixture(scope="class")
def reply(form: Any, word: str) -> Body:
    answer: Body = form(asking(word)).json()
    return answer


@pytest.mark.parametrize("word", ["hello", "long", "emoji"], scope="class")
class TestWholeAnswers:
    """What holds of every answer in one body."""

    def test_its_head(self, reply: Body) -> None:
        assert reply["object"] == "chat.completion" and reply["model"] == MODEL_NAME
        assert reply["id"] and isinstance(reply["created"], int)

    def test_its_message(self, reply: Body, word: str) -> None:
        (choice,) = reply["choices"]
        assert choice["index"] == 0 and choice["finish_reason"] == "stop" and choice["logprobs"] is None
        assert choice["message"]["role"] == "assistant"
        assert choice["message"]["content"].strip() == SAYINGS.get(word, "Hello.").strip()

    def test_members_without_a_value(self, reply: Body) -> None:
        message = reply["choices"][0]["message"]
        assert message["refusal"] is None and "tool_calls" not in message

    def test_the_reasoning_has_both_names(self, reply: Body) -> None:
        message = reply["choices"][0]["message"]
        assert message["reasoning"] == message["reasoning_content"] == "I think of it, word by word."

    def test_usage_adds_up(self, reply: Body) -> None:
        usage = reply["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_repeated_prompt_is_cached(form: Any) -> None:
    body = {"messages": [{"role": "system", "content": "Once. " * 80}, {"role": "user", "content": "hello"}]}
    first, second = (form(body).json()["usage"] for _ in range(2))
    assert first["prompt_tokens"] == second["prompt_tokens"]
    assert second["prompt_tokens_details"]["cached_tokens"] > 400


REFUSED: Final[dict[str, Body]] = {
    "no messages": {"messages": []},
    "messages missing": {"messages": None},
    "unknown role": {"messages": [{"role": "robot", "content": "x"}]},
    "content missing": {"messages": [{"role": "user"}]},
    "content a number": {"messages": [{"role": "user", "content": 1}]},
    "an image": {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    },
    "max_tokens -1": {"max_tokens": -1},
    "max_tokens 0": {"max_tokens": 0},
    "max_tokens text": {"max_tokens": "many"},
    "max_completion_tokens -1": {"max_completion_tokens": -1},
    "temperature below": {"temperature": -0.1},
    "temperature above": {"temperature": 2.1},
    "temperature text": {"temperature": "warm"},
    "top_p above": {"top_p": 1.1},
    "top_p below": {"top_p": -0.1},
    "n 0": {"n": 0},
    "n too large": {"n": 1000},
    "presence_penalty": {"presence_penalty": 3},
    "frequency_penalty": {"frequency_penalty": -3},
    "top_logprobs above": {"logprobs": True, "top_logprobs": 21},
    "top_logprobs alone": {"top_logprobs": 2},
    "stream_options alone": {"stream_options": {"include_usage": True}},
    "stream a text": {"stream": "yes"},
    "stop empty": {"stop": ""},
    "tools without function": {"tools": [{"type": "function"}]},
    "tool name missing": {"tools": [{"type": "function", "function": {}}]},
    "tool name empty": {"tools": [{"type": "function", "function": {"name": ""}}]},
    "tool parameters a list": {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
    "tool_choice unknown": {"tools": TOOLS, "tool_choice": "sometimes"},
    "tool_choice of no tool": {
        "tools": TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    },
    "tool_choice without tools": {"tool_choice": "required"},
    "response_format unknown": {"response_format": {"type": "xml"}},
    "response_format without schema": {"response_format": {"type": "json_schema"}},
    "logit_bias": {"logit_bias": {"x": 1}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_a_400_that_says_what(form: Any, name: str) -> None:
    reply = form(asking("hello") | REFUSED[name])
    error = reply.json()["error"]
    assert reply.status_code == 400 and error["type"] == "invalid_request_error" and error["message"]
    assert error["param"]


def test_an_unknown_model_is_a_404(form: Any) -> None:
    reply = form(asking("hello", model="gpt-5"))
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "model_not_found"


def history(*results: tuple[str | None, str], calls: int = 2) -> Body:
    made = [
        {"id": f"c{at}", "type": "function", "function": {"name": "weather", "arguments": '{"city": "x"}'}}
        for at in range(calls)
    ]
    told = [{"role": "tool", "tool_call_id": id, "content": text} for id, text in results]
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "tool_calls": made}, *told]
    return {"messages": [*messages, {"role": "user", "content": "hello"}], "tools": TOOLS}


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ((("other", "x"), ("c1", "y")), "'other' names no call"),
        ((("c0", "x"),), "'c1'"),
        ((), "'c0'"),
    ],
    ids=["wrong id", "partial", "none"],
)
def test_results_that_do_not_answer_the_calls(form: Any, results: Any, words: str) -> None:
    reply = form(history(*results))
    assert reply.status_code == 400 and words in reply.json()["error"]["message"]


@pytest.mark.parametrize("order", [("c0", "c1"), ("c1", "c0"), (None, None)])
def test_results_in_any_order(form: Any, order: Any) -> None:
    assert form(history(*((id, "x") for id in order))).status_code == 200


@pytest.fixture(scope="class")
def answer(form: Any, word: str, streamed: bool) -> tuple[list[Body], str]:
    """The calls, and why the answer ended."""
    if not streamed:
        choice = form(asking(word, tools=TOOLS)).json()["choices"][0]
        return choice["message"]["tool_calls"], choice["finish_reason"]
    chunks, calls = stream(form, word, tools=TOOLS), dict[int, Body]()
    for part in (part for delta in deltas(chunks) for part in delta.get("tool_calls", ())):
        if part["index"] not in calls:
            calls[part["index"]] = {"id": part["id"], "type": part["type"], "function": part["function"]}
            assert part["function"]["arguments"] == ""
        else:
            assert "id" not in part and "name" not in part["function"]
            calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    assert list(calls) == list(range(len(calls)))
    return list(calls.values()), chunks[-2]["choices"][0]["finish_reason"]


@pytest.mark.parametrize("streamed", [True, False], scope="class")
@pytest.mark.parametrize(("word", "count"), [("call", 1), ("two", 2)], scope="class")
class TestCalls:
    """What holds of calls, streamed or not."""

    def test_there_are_as_many_as_the_model_made(self, answer: tuple[list[Body], str], count: int) -> None:
        assert len(answer[0]) == count

    def test_the_answer_ends_for_them(self, answer: tuple[list[Body], str], count: int) -> None:
        assert answer[1] == "tool_calls"

    def test_their_ids_differ_and_are_plain(self, answer: tuple[list[Body], str], count: int) -> None:
        ids = [call["id"] for call in answer[0]]
        assert len(set(ids)) == count and all(id.startswith("call_") and id.isascii() for id in ids)

    def test_their_arguments_are_json_of_the_schema(self, answer: tuple[list[Body], str], count: int) -> None:
        assert [json.loads(call["function"]["arguments"]) for call in answer[0]] == [{"city": "Köln"}] * count

    def test_their_type_and_name(self, answer: tuple[list[Body], str], count: int) -> None:
        assert {(call["type"], call["function"]["name"]) for call in answer[0]} == {("function", "weather")}


CHOICES: Final[dict[str, tuple[Any, set[str]]]] = {
    "auto": ("auto", {"weather"}),
    "none": ("none", set()),
    "one": (FORECAST, {"forecast"}),
    "allowed": (
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FORECAST]}},
        {"forecast"},
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_tool_choice_is_obeyed(form: Any, name: str) -> None:
    choice, expected = CHOICES[name]
    reply = form(asking("call", tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, max_tokens=400))
    message = reply.json()["choices"][0]["message"]
    assert {call["function"]["name"] for call in message.get("tool_calls", ())} == expected


def test_a_line_of_the_metrics_tools_input_is_taken(form: Any) -> None:
    """Its own members are of no meaning here; the tool itself turns the role `_input` into `system`."""
    line = {
        "messages": [{"role": "system", "content": "You plan."}, {"role": "user", "content": "call"}],
        "tools": TOOLS,
        "check_type": ["tool_calls", "silence_output"],
        "expected_tool_call": True,
        "stream": False,
    }
    assert form(line).json()["choices"][0]["finish_reason"] == "tool_calls"


def test_the_order_of_a_tools_properties_is_kept(form: Any) -> None:
    properties = {name: {"type": "string"} for name in ("zebra", "apple", "mango")}
    function = {"name": "f", "parameters": {"properties": properties, "type": "object"}}
    asked = {
        "messages": asking("hello")["messages"],
        "tools": [{"type": "function", "function": function}],
    }
    tokens = form(asked, "/tokenize").json()["tokens"]
    prompt = form({"tokens": tokens}, "/detokenize").json()["content"]
    places = [prompt.index(word) for word in ("zebra", "apple", "mango", '"type": "object"')]
    assert places == sorted(places)
