"""Answers under a grammar: whatever allowed tokens are drawn, the whole is what was asked for."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jangtq_bundle
from jangtq_coordinator.api.chat.answer_blocks import AnswerBlocks
from jangtq_coordinator.engine.events import TokenGenerated
from jangtq_coordinator.engine.loaded_model import LoadedModel
from jangtq_coordinator.mlx_lm import load_tokenizer
from jangtq_coordinator.sampling.grammar import GrammarConstraint, Grammars
from jangtq_coordinator.sampling.tool_grammar import answer_grammar
from jangtq_coordinator.text.capabilities import Capabilities, read_capabilities
from jangtq_coordinator.text.reasoning import Channel, Piece
from jangtq_coordinator.text.tool_arguments import Schema
from jangtq_coordinator.text.tool_calls import BLOCK_START, ToolBlock
from jangtq_proto.errors import BundleError, RequestError
from tests.support.tiny_model import KV_SHAPE, MODEL_NAME, ProbedModel, load_tiny_tokenizer

WEATHER: Schema = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"$ref": "#/$defs/days"},
        "unit": {"enum": ["celsius", "fahren</heit>"]},
        "exact": {"type": ["boolean", "null"]},
    },
    "required": ["city", "unit"],
    "$defs": {"days": {"type": "integer", "minimum": 1, "maximum": 9}},
}
TOOLS: dict[str, Schema] = {"weather": WEATHER, "now": {"type": "object", "properties": {}}, "any": {}}
POINT: Schema = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "tags": {"type": "array", "items": {"enum": ["a", "b"]}}},
    "required": ["x", "tags"],
    "additionalProperties": False,
}
TOKENIZER = load_tiny_tokenizer()
END = next(iter(TOKENIZER.eos_token_ids))


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(LoadedModel(ProbedModel(), TOKENIZER, MODEL_NAME, 512, kv_shape=KV_SHAPE))


def new_constraint(grammars: Grammars, grammar: str, waits: Sequence[str] = ()) -> GrammarConstraint:
    (constraint,) = grammars.constraints(grammar, waits=waits, param="response_format")
    return constraint


def allowed(constraint: GrammarConstraint) -> list[int]:
    mask = constraint.mask()
    assert mask is not None
    return [int(t) for t in np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))]


def answer(constraint: GrammarConstraint, seed: int) -> str:
    """What a model that knows nothing says; it closes texts and brackets sooner or later."""
    generator, tokens, queue = random.Random(seed), list[int](), list[int]()
    newline = ids_of("\n")[0]
    endings = {END, *(ids_of(text)[0] for text in ('"', "}", "]", "</minimax:tool_call>"))}
    while True:
        choices = allowed(constraint)
        # Only free text allows nearly everything and line breaks.
        if not queue and len(choices) > 100 and newline in choices and generator.random() < 0.1:
            queue = ids_of("</parameter>\n")
        ending = [token for token in choices if token in endings and len(tokens) > 60]
        token = queue.pop(0) if queue else generator.choice(ending or choices)
        if token == END:
            return str(TOKENIZER.decode(tokens))
        tokens.append(token)
        constraint.take(token)
        assert len(tokens) < 3000


def ids_of(text: str) -> list[int]:
    return list(TOKENIZER.encode(text, add_special_tokens=False))


def say(constraint: GrammarConstraint, text: str) -> None:
    for token in ids_of(text):
        constraint.take(token)


@pytest.mark.parametrize("seed", range(6))
def test_json_of_a_schema(grammars: Grammars, seed: int) -> None:
    text = answer(new_constraint(grammars, answer_grammar(POINT, {})), seed)
    value = json.loads(text)
    assert set(value) == {"x", "tags"} and isinstance(value["x"], int) and set(value["tags"]) <= {"a", "b"}


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_calls_of_the_offered_tools(grammars: Grammars, seed: int, several: bool) -> None:
    grammar = answer_grammar(None, {"weather": WEATHER, "now": TOOLS["now"]}, several=several)
    text = answer(new_constraint(grammars, grammar), seed)
    head, found, rest = text.partition(BLOCK_START)
    assert found and not head.strip("\n")
    block = ToolBlock()
    transcript = AnswerBlocks(TOOLS, lambda token: b"")
    pieces = [Piece(Channel.TOOL, part.text, part.step) for part in (*block.feed(rest), *block.finish())]
    transcript.add(TokenGenerated(0, tuple(pieces)))
    calls = transcript.calls
    assert calls and (several or len(calls) == 1) and not block.rest
    for call in calls:
        assert call.whole
        check_call(call.name, json.loads(call.text))


def check_call(name: str, arguments: dict[str, Any]) -> None:
    if name == "now":
        assert arguments == {}
        return
    assert {"city", "unit"} <= set(arguments) <= {"city", "days", "unit", "exact"}
    assert arguments["unit"] in ("celsius", "fahren</heit>") and isinstance(arguments["city"], str)
    assert arguments.get("days", 1) in range(1, 10) and arguments.get("exact") in (True, False, None)


def test_a_tool_without_a_schema_takes_any_parameters(grammars: Grammars) -> None:
    constraint = new_constraint(grammars, answer_grammar(None, {"any": {}}, several=False))
    say(
        constraint,
        '\n<minimax:tool_call>\n<invoke name="any">\n<parameter name="x">1e999</parameter>\n</invoke>\n',
    )
    say(constraint, "</minimax:tool_call>")
    assert allowed(constraint) == [END]


def test_reasoning_is_free_and_only_then_the_grammar_holds(grammars: Grammars) -> None:
    constraint = new_constraint(grammars, answer_grammar(POINT, {}), waits=["</think>"])
    say(constraint, "I say {free} things. </thin")
    assert constraint.mask() is None
    say(constraint, "\n</think>")
    first = {TOKENIZER.decode([token]) for token in allowed(constraint)}
    assert {"{", "\n"} <= first and "I" not in first
    say(constraint, '\n\n{"x":3')
    assert ids_of('"')[0] not in allowed(constraint)


def test_a_marker_may_share_a_token_with_what_follows_it() -> None:
    tokenizer = load_tokenizer(Path(jangtq_bundle.__file__).parent / "models" / "jangtq-demo")
    model = LoadedModel(ProbedModel(), tokenizer, MODEL_NAME, 512, kv_shape=KV_SHAPE)
    constraint = new_constraint(Grammars(model), 'start: ">" "a"', waits=['x"'])
    x, both, *others = tokenizer.encode('x">', add_special_tokens=False)
    assert not others
    constraint.take(x)
    constraint.take(both)
    assert [tokenizer.decode([token]) for token in allowed(constraint)] == ["a"]


def test_the_answers_of_one_request_go_their_own_ways(grammars: Grammars) -> None:
    grammar = answer_grammar({"enum": ["a", "b"]}, {})
    first, second = grammars.constraints(grammar, param="response_format", count=2)
    say(first, '"a')
    say(second, '"b"')
    assert END in allowed(second) and END not in allowed(first)


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        (answer_grammar({"type": "strin"}, {}), "strin"),
        (answer_grammar({"not": {"type": "string"}}, {}), "not"),
        (answer_grammar({"$ref": "#/$defs/A"}, {}), r"\$defs/A"),
        (
            answer_grammar(None, {"f": {"properties": {"x": {"type": "number", "not": {}}}}}, several=True),
            "not",
        ),
    ],
)
def test_schemas_that_cannot_be_followed(grammars: Grammars, grammar: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        new_constraint(grammars, grammar)
    assert caught.value.param == "response_format" and "\n" not in str(caught.value)


def test_a_token_against_the_grammar_is_told_by_the_next_mask(grammars: Grammars) -> None:
    constraint = new_constraint(grammars, answer_grammar(POINT, {}))
    say(constraint, "x")
    with pytest.raises(RequestError, match="cannot follow"):
        constraint.mask()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, Capabilities()),
        ({"capabilities": {"reasoning_parser": "qwen3", "tool_parser": "minimax"}}, Capabilities()),
        ({"capabilities": {"think_in_template": False}}, Capabilities(None, False)),
        ({"capabilities": {"reasoning_parser": None, "tool_parser": "minimax_m2"}}, Capabilities(None)),
    ],
)
def test_capabilities(written: object, expected: Capabilities, tmp_path: Path) -> None:
    assert read_capabilities(tmp_path) == Capabilities()
    (tmp_path / "jang_config.json").write_text(json.dumps(written))
    assert read_capabilities(tmp_path) == expected


@pytest.mark.parametrize("text", ["[]", "{", '{"capabilities": 5}', '{"capabilities": {"tool_parser": "x"}}'])
def test_broken_capabilities(text: str, tmp_path: Path) -> None:
    (tmp_path / "jang_config.json").write_text(text)
    with pytest.raises(BundleError, match="jang_config.json: capabilities"):
        read_capabilities(tmp_path)
