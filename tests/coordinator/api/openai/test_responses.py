"""The responses API through the official client: its events, what is kept, and what is refused."""

import json
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jangtq_coordinator.api.openai.response_items import MessageItem
from jangtq_coordinator.api.openai.response_store import ResponseStore
from jangtq_coordinator.api.openai.responses_schema import ResponseRequest
from tests.coordinator.api.http.test_error_responses import json_values
from tests.support.api_server import Served, answering, serving
from tests.support.tiny_model import MODEL_NAME

TOOLS: Any = [
    {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}, "strict": False}
]
CALL = '\n<minimax:tool_call>\n<invoke name="now">\n</invoke>\n</minimax:tool_call>'
SPOKEN = f"They ask.\n</think>\n\nI look.{CALL}"


async def respond(served: Served, **options: Any) -> Any:
    create: Any = served.openai.responses.create
    return await create(model=MODEL_NAME, **({"input": "Hi"} | options))


async def test_events_come_in_openais_order() -> None:
    async with answering(SPOKEN) as served:
        events = [event async for event in await respond(served, tools=TOOLS, stream=True)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    merged = [kind for at, kind in enumerate(kinds) if kinds[at - 1 : at] != [kind]]
    item = ["output_item.added", "output_item.done"]
    text = [item[0], "content_part.added", "{0}.delta", "{0}.done", "content_part.done", item[1]]
    call = [item[0], "{0}.delta", "{0}.done", item[1]]
    expected = ["created", "in_progress"]
    expected += [kind.format("reasoning_text") for kind in text]
    expected += [kind.format("output_text") for kind in text]
    expected += [kind.format("function_call_arguments") for kind in call]
    assert merged == [*expected, "completed"]
    final = events[-1].response
    assert [one.type for one in final.output] == ["reasoning", "message", "function_call"]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [one.model_dump() for one in done] == [one.model_dump() for one in final.output]
    assert final.output_text == "I look." and final.status == "completed"


async def test_a_whole_response() -> None:
    async with answering(SPOKEN) as served:
        whole = await respond(served, tools=TOOLS, instructions="Be brief.", metadata={"a": "b"})
    assert (whole.object, whole.status, whole.instructions) == ("response", "completed", "Be brief.")
    assert whole.id.startswith("resp_") and whole.metadata == {"a": "b"} and whole.tools[0].name == "now"
    reasoning, message, call = whole.output
    assert reasoning.content[0].text == "They ask." and message.content[0].text == "I look."
    assert (call.name, call.arguments, call.call_id[:5]) == ("now", "{}", "call_")
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    assert 0 < whole.usage.output_tokens_details.reasoning_tokens < whole.usage.output_tokens
    assert whole.usage.input_tokens_details.cached_tokens == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_cut_is_incomplete(stream: bool) -> None:
    async with answering(SPOKEN) as served:
        response = await respond(served, max_output_tokens=5, stream=stream)
        if stream:
            last = [event async for event in response][-1]
            assert last.type == "response.incomplete"
            response = last.response
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")


async def test_kept_responses() -> None:
    async with answering(
        lambda prompt: f"</think>\n\n{prompt.count(']~b]user')} {'One' in prompt}"
    ) as served:
        first = await respond(served, instructions="One")
        second = await respond(served, previous_response_id=first.id, input="And?")
        # Instructions are not passed on.
        assert (first.output_text, second.output_text) == ("1 True", "2 False")
        assert (await served.openai.responses.retrieve(first.id)).output_text == "1 True"
        await served.openai.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError, match="no response"):
            await served.openai.responses.retrieve(first.id)
        with pytest.raises(openai.BadRequestError, match="previous_response_id: no response") as caught:
            await respond(served, previous_response_id=first.id)
        assert caught.value.param == "previous_response_id"
        # What it was built on is part of it.
        assert (await respond(served, previous_response_id=second.id)).output_text == "3 False"
        unkept = await respond(served, store=False)
        with pytest.raises(openai.NotFoundError):
            await served.openai.responses.retrieve(unkept.id)


def test_the_store_is_bounded_and_tells_owners_apart() -> None:
    store, said = (
        ResponseStore(max_count=3, max_bytes=1910),
        [MessageItem(type="message", role="user", content="x")],
    )
    for name in "abcd":
        store.put("me", {"id": name}, said)
    assert store.get("me", "a") is None and store.get("you", "b") is None
    assert store.get("me", "b") is not None
    store.put("me", {"id": "e"}, said)
    assert store.get("me", "c") is None and store.get("me", "b") is not None
    store.put("me", {"id": "long", "text": "y" * 1800}, said)
    assert not any(store.get("me", name) for name in "bde")
    store.put("me", {"id": "longer", "text": "y" * 3000}, said)
    assert store.get("me", "longer") is None and store.get("me", "long") is not None


async def test_options_reach_the_model() -> None:
    async with answering(lambda prompt: f"{prompt.endswith('<think>')} {prompt[-20:]!r}") as served:
        quiet = await respond(served, reasoning={"effort": "none"})
        assert [one.type for one in quiet.output] == ["message"] and quiet.output_text.startswith("False")
    async with serving(context_length=4096) as served:
        form = {"format": {"type": "json_schema", "name": "x", "schema": {"enum": ["left", "right"]}}}
        answer = await respond(served, text=form, reasoning={"effort": "none"})
        assert json.loads(answer.output_text) in ("left", "right")
        logged = await respond(
            served,
            max_output_tokens=5,
            reasoning={"effort": "none"},
            top_logprobs=2,
            include=["message.output_text.logprobs"],
        )
        told = logged.output[0].content[0].logprobs
        assert len(told) == 5 and all(len(one.top_logprobs) == 2 for one in told)


async def test_a_failure_in_the_middle_fails_the_response() -> None:
    async with serving(context_length=4096) as served:
        kinds = []
        async for event in await respond(served, max_output_tokens=300, stream=True):
            kinds.append(event.type)
            if event.type == "response.reasoning_text.delta" and not served.model.failures:
                served.model.failures.append(KeyError("secret"))
        assert kinds[-1] == "response.failed" and event.response.error.message
        assert "secret" not in event.response.error.message


async def test_what_is_refused() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"input": []}, "input"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "'input_image' is not supported",
        ),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "no item 'x' is kept here"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "'c' names no call"),
        ({"background": True}, "background: True is not supported"),
        ({"conversation": "c"}, "conversation"),
        ({"truncation": "both"}, "truncation"),
        ({"tools": [{"type": "function"}]}, "name"),
        ({"tool_choice": "required"}, "no tools are offered"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "strin"}}}}, "strin"),
    ]
    async with serving() as served:
        for fields, words in cases:
            with pytest.raises(openai.BadRequestError, match=words):
                await respond(served, **fields)
        with pytest.raises(openai.NotFoundError):
            await served.openai.responses.create(model="gpt-5", input="Hi")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(ResponseRequest.model_fields)), json_values, max_size=4))
def test_any_values_become_a_chat_request_or_are_refused(fields: dict[str, object]) -> None:
    try:
        request = ResponseRequest.model_validate({"input": "Hi"} | fields)
    except ValidationError as error:
        assert error.errors()[0]["msg"]
    else:
        assert request.chat(()).messages


async def test_half_a_surrogate_pair_that_is_only_echoed_comes_back_as_it_was_written() -> None:
    asked = '{"input": "x", "max_output_tokens": 2, "metadata": {"a": "\\ud800 ü"}, "stream": %s}'
    kind = {"Content-Type": "application/json"}
    async with serving() as served:
        for streamed in ("false", "true"):
            content = (asked % streamed).encode()
            reply = await served.http.post("/v1/responses", content=content, headers=kind)
            assert reply.status_code == 200, reply.text
            whole = reply.text if streamed == "false" else reply.text.rpartition("data: ")[2]
            body = json.loads(whole)
            assert body.get("response", body)["metadata"] == {"a": "\ud800 ü"}
        kept = await served.http.get(f"/v1/responses/{body['response']['id']}")
        assert kept.json()["metadata"] == {"a": "\ud800 ü"}
