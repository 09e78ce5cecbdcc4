"""Conversations of any order reach the model whole, by the demo's template and by MiniMax-M2's own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.api.chat.chat_messages import ChatMessage
from jangtq_coordinator.api.chat.chat_schema import ChatRequest
from jangtq_coordinator.api.chat.conversation import arrange, without_oldest
from jangtq_coordinator.api.chat.generation import message_for_template
from jangtq_coordinator.text.answer_start import AnswerStart, Prefill
from jangtq_coordinator.text.chat_template import ChatTemplate
from jangtq_coordinator.text.reasoning import Channel, Opening, ReasoningMarkers
from jangtq_proto.errors import RequestError
from tests.support.tiny_model import load_tiny_tokenizer, load_tokenizer_with_template

TOKENIZERS = {"demo": load_tiny_tokenizer, "MiniMax-M2": load_tokenizer_with_template}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
roles = st.lists(
    st.sampled_from(["system", "developer", "user", "assistant", "calls"]), min_size=1, max_size=8
)


def messages_of(kinds: list[str]) -> list[ChatMessage]:
    """Each says its own number; after calls comes their result."""
    given: list[dict[str, object]] = []
    for kind in kinds:
        text = f"number {len(given)}."
        if kind != "calls":
            given.append({"role": kind, "content": text})
            continue
        given.append({"role": "assistant", "content": text, "tool_calls": [CALL]})
        given.append({"role": "tool", "tool_call_id": "c", "content": f"number {len(given)}."})
    return ChatRequest.model_validate({"messages": given}).messages


def prompt_of(messages: list[ChatMessage], template: str, start: AnswerStart | None = None) -> str:
    tokenizer = TOKENIZERS[template]()
    rendered = ChatTemplate(tokenizer, ReasoningMarkers()).render(
        [message_for_template(one) for one in arrange(messages)], start=start or AnswerStart()
    )
    return str(tokenizer.decode(list(rendered.tokens)))


@pytest.mark.parametrize("template", TOKENIZERS)
@given(kinds=roles)
def test_every_message_is_in_the_prompt_in_order(template: str, kinds: list[str]) -> None:
    messages = messages_of(["user", *kinds] if set(kinds) <= {"system", "developer"} else kinds)
    prompt = prompt_of(messages, template)
    assert [int(n) for n in re.findall(r"number (\d+)\.", prompt)] == list(range(len(messages)))


@pytest.mark.parametrize("template", TOKENIZERS)
def test_a_late_system_message_leaves_what_stands_before_it_alone(template: str) -> None:
    """So that a kept prompt still fits, and the reasoning of a tool loop stays."""
    before = messages_of(["system", "user", "calls"])
    thinking = [
        one.model_copy(update={"reasoning_content": "Hm."}) if one.role == "assistant" else one
        for one in before
    ]
    late = messages_of(["system"])
    plain, more = prompt_of(thinking, template), prompt_of([*thinking, *late], template)
    known = plain.partition("</response>")[0]
    assert more.startswith(known) and "Hm." in more and "<system>\nnumber 0.\n</system>" in more


def test_results_must_answer_calls() -> None:
    calls = [{**CALL, "id": id} for id in ("a", "b")]
    for ids, words in ((["a"], "'b' .f."), (["a", "x"], "'x' names no call.*'a', 'b'"), ([], "'a' .f., 'b'")):
        results = [{"role": "tool", "tool_call_id": id, "content": "x"} for id in ids]
        turns = [{"role": "assistant", "tool_calls": calls}, *results, {"role": "user", "content": "x"}]
        with pytest.raises(RequestError, match=words):
            arrange(ChatRequest.model_validate({"messages": turns}).messages)
    unnamed = [{"role": "tool", "content": text} for text in "xy"]
    turns = [{"role": "assistant", "tool_calls": calls}, *unnamed, {"role": "user", "content": "x"}]
    assert len(arrange(ChatRequest.model_validate({"messages": turns}).messages)) == 4


def test_the_oldest_turn_is_left_out_with_all_that_belongs_to_it() -> None:
    messages = messages_of(["system", "user", "calls", "assistant", "user", "assistant", "user"])
    shorter = without_oldest(messages)
    assert shorter == [messages[0], *messages[5:]]
    assert without_oldest(without_oldest(shorter) or []) is None


PREFILLS = {
    "content": (Prefill(content="So"), "]~b]ai\nSo", Opening(Channel.CONTENT)),
    "both": (Prefill("Hm.", "So"), "]~b]ai\n<think>\nHm.\n</think>\n\nSo", Opening(Channel.CONTENT)),
    "reasoning": (Prefill("Hm."), "]~b]ai\n<think>\nHm.", Opening(Channel.REASONING)),
}


@pytest.mark.parametrize("template", TOKENIZERS)
def test_the_start_of_an_answer(template: str) -> None:
    user = messages_of(["user"])
    assert prompt_of(user, template).rstrip().endswith("]~b]ai\n<think>")
    assert prompt_of(user, template, AnswerStart(reasons=False)).endswith("]~b]ai\n")
    for prefill, end, opening in PREFILLS.values():
        start = AnswerStart(prefill=prefill)
        assert prompt_of(user, template, start).endswith(end)
        assert start.apply("]~b]ai\n<think>\n", ReasoningMarkers()) == (end, opening)
    assert AnswerStart(prefill=Prefill("x", "So")).apply("> ", None) == ("> So", Opening(Channel.CONTENT))


@pytest.mark.parametrize(
    "kept",
    [
        {"content": "So.", "reasoning_content": "Hm."},
        {"content": "So.", "reasoning": "Hm."},
        {"content": "So.", "reasoning_content": "Hm.", "reasoning": "Hm."},
        {"content": "So.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
        {"content": "So.", "reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]},
        {"content": "<think>\nHm.\n</think>\n\nSo."},
        {"content": "<think>Hm.</think>So."},
        {"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "So."}]},
        {"content": [{"type": "thinking", "thinking": [{"text": "Hm."}]}, {"type": "text", "text": "So."}]},
        {"refusal": "So.", "reasoning": "Hm."},
        {"content": [{"type": "refusal", "refusal": "So."}], "reasoning": "Hm."},
    ],
)
def test_reasoning_comes_back_in_every_form(kept: dict[str, object]) -> None:
    (message,) = ChatRequest.model_validate({"messages": [{"role": "assistant"} | kept]}).messages
    told = message_for_template(message)
    assert (told["reasoning_content"], told["content"]) == ("Hm.", "So.")


@pytest.mark.parametrize("said", ["a <think> b </think> c", "<think> is a tag", "</think>"])
def test_markers_that_are_no_reasoning_stay_text(said: str) -> None:
    (message,) = ChatRequest.model_validate({"messages": [{"role": "assistant", "content": said}]}).messages
    assert message_for_template(message) == {"role": "assistant", "content": said}
