"""The demo model's corpus: its arithmetic is right, its text is the template's, and held-out stays apart."""

import json
import operator
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_bundle.byte_tokenizer import tokenizer_files
from jangtq_coordinator.mlx_lm import TokenizerWrapper, load_tokenizer
from jangtq_demo.corpus import refusals, tool_use, topics
from jangtq_demo.corpus.conversation import Conversation, Message, render
from jangtq_demo.corpus.mixture import CATEGORIES, make_conversation
from jangtq_demo.corpus.split import Split
from jangtq_demo.corpus.tool import response_text
from jangtq_demo.corpus.topic_phrases import COUNTED, OPEN
from jangtq_demo.corpus.vocabulary import CITIES, PEOPLE, real_words
from jangtq_demo.corpus.worked import Worked, add, divide, multiply, subtract

NUMBERS = st.integers(0, 9999)
OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "x": operator.mul,
    "/": operator.floordiv,
}
STEP = re.compile(r"(\d+) ([-+x/]) (\d+)(?: ([-+]) (\d+))? = (-?\d+)")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TokenizerWrapper:
    path: Path = tmp_path_factory.mktemp("tokenizer")
    for name, content in tokenizer_files().items():
        (path / name).write_bytes(content)
    return load_tokenizer(path)


def check_steps(worked: Worked) -> None:
    """Every `a op b op c = d` of the steps holds."""
    for a, sign, b, second, c, total in STEP.findall(worked.text):
        value = OPERATIONS[sign](int(a), int(b)) + {"+": 1, "-": -1, "": 0}[second] * int(c or 0)
        assert value == int(total), worked.text


@given(NUMBERS, NUMBERS)
def test_worked_sums_and_differences_are_right(a: int, b: int) -> None:
    assert add(a, b).result == a + b
    assert subtract(a, b).result == a - b
    check_steps(add(a, b))
    check_steps(subtract(a, b))
    assert add(a, b).lines[-1].endswith(f" backwards is {a + b}.")
    assert subtract(a, b).lines[-1].endswith(f" backwards is {abs(a - b)}.")


@given(NUMBERS, st.integers(0, 99))
def test_worked_products_are_right(a: int, b: int) -> None:
    worked = multiply(a, b)
    assert worked.result == a * b
    assert str(a * b) in worked.lines[-1]
    check_steps(worked)


@given(NUMBERS, st.integers(1, 9))
def test_worked_quotients_are_right(a: int, b: int) -> None:
    worked = divide(a, b)
    assert worked.result == a // b
    assert worked.lines[-1].endswith(f" is {a // b}, rest {a % b}.")
    check_steps(worked)


def as_template_messages(conversation: Conversation) -> list[dict[str, object]]:
    return [
        {"role": "system", "content": conversation.system},
        *map(as_template_message, conversation.messages),
    ]


def as_template_message(message: Message) -> dict[str, object]:
    given: dict[str, object] = {"role": message.role, "content": message.content}
    if message.reasoning:
        given["reasoning_content"] = message.reasoning
    if message.calls:
        given["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in message.calls
        ]
    return given


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_conversations_read_as_the_chat_template_writes_them(tokenizer: TokenizerWrapper, first: int) -> None:
    apply: Callable[..., object] = tokenizer.apply_chat_template
    for number in range(first, first + 100):
        conversation = make_conversation(3, number)
        text = "".join(segment.text for segment in render(conversation))
        messages = as_template_messages(conversation)
        if not conversation.thinking:
            for message in messages:
                message.pop("reasoning_content", None)
        tools = [{"type": "function", "function": tool} for tool in conversation.tools] or None
        assert text == apply(messages, tokenize=False, tools=tools)


def test_only_the_assistant_is_trained_and_always_to_its_end() -> None:
    for number in range(300):
        for segment in render(make_conversation(4, number)):
            if segment.trained:
                assert segment.text.endswith("[e~[")
                assert "]~b]" not in segment.text


def test_calls_come_with_their_reasoning_without_it_and_as_context_whose_reasoning_was_not_sent() -> None:
    conversations = [tool_use.make_conversation(random.Random(n), Split.TRAINING) for n in range(200)]
    kinds = {
        (message.reasoning != "" and conversation.thinking, segment.trained)
        for conversation in conversations
        for message in conversation.messages[conversation.last_user :]
        for segment in render(replace(conversation, messages=(conversation.messages[0], message)))
        if message.calls and "</invoke>" in segment.text and "tool-name-1" not in segment.text
    }
    assert kinds == {(True, True), (False, True), (False, False)}
    answered = [render(conversation)[-2] for conversation in conversations]
    assert all(segment.trained for segment in answered)


def test_a_seed_and_a_number_decide_the_conversation() -> None:
    assert [make_conversation(1, n) for n in range(50)] == [make_conversation(1, n) for n in range(50)]
    assert make_conversation(1, 0) != make_conversation(2, 0)


@pytest.mark.parametrize("category", ["arithmetic", "words", "calendar and units", "topics", "greetings"])
def test_held_out_questions_are_never_trained(category: str) -> None:
    make = CATEGORIES[category]
    rng = random.Random(0)
    held_out = {make(rng, Split.HELD_OUT).question for _ in range(300)}
    trained = {make(rng, Split.TRAINING).question for _ in range(20_000)}
    assert not held_out & trained


def test_no_training_conversation_uses_a_held_out_wording() -> None:
    """With gaps for what is filled in, whatever stands around the wording."""
    phrases = [phrase for p in (COUNTED, OPEN) for phrase in p.held_out]
    gaps = {"{t}": "[a-z -]+", "{c}": "[a-z]+ sentences?"}
    pattern = "|".join(
        "".join(gaps.get(part) or re.escape(part) for part in re.split(r"(\{.\})", phrase[:-1]))
        for phrase in phrases
    )
    questions = "\n".join(
        message.content for n in range(20_000) for message in make_conversation(2, n).messages
    )
    assert not re.findall(pattern, questions, re.IGNORECASE)
    assert re.findall(pattern, OPEN.held_out[0].format(t="the moon"))


def test_held_out_arguments_of_tools_are_never_trained() -> None:
    rng = random.Random(0)
    names = {*CITIES, *PEOPLE, *real_words()}

    def words(split: Split, count: int) -> set[str]:
        calls = [tool_use.make(rng, split).call for _ in range(count)]
        values = [str(value) for call in calls for value in call.arguments.values()]
        return {word for value in values for word in value.split()} & names

    # "water the ..." is one of the tasks to be reminded of.
    assert not words(Split.HELD_OUT, 500) & (words(Split.TRAINING, 8000) - {"water"})


def test_a_tool_exchange_holds_together() -> None:
    rng = random.Random(5)
    for _ in range(300):
        exchange = tool_use.make(rng, Split.TRAINING)
        schema = next(tool.schema for tool in exchange.offered if tool.name == exchange.call.name)
        parameters = schema["parameters"]
        assert isinstance(parameters, Mapping)
        assert set(parameters["required"]) == set(exchange.call.arguments)
        assert isinstance(json.loads(exchange.response), dict)


def test_topics_have_five_sentences_each() -> None:
    assert len(topics.read_topics()) >= 60
    for topic in topics.read_topics():
        assert len(topic.sentences) == 5
        assert all(sentence.endswith(".") and ". " not in sentence for sentence in topic.sentences)
    assert "photosynthesis" in {topic.name for topic in topics.read_topics()}


def test_refusals_never_ask_for_a_known_topic() -> None:
    rng = random.Random(6)
    known = {topic.name for topic in topics.read_topics()}
    for _ in range(2000):
        question = refusals.make(rng, Split.TRAINING).question
        assert not any(
            f"{word} {name}." in question for name in known for word in ("Explain", "Tell me about")
        )


def test_a_tool_response_is_json() -> None:
    assert json.loads(response_text({"city": "Zürich", "temperature": -3})) == {
        "city": "Zürich",
        "temperature": -3,
    }
