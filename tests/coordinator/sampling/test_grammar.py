"""Answers under a grammar: whatever allowed tokens are drawn, the whole is what was asked for."""

import datetime
import ipaddress
import json
import random
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jangtq_bundle
from jangtq_coordinator.api.chat.answer_blocks import AnswerBlocks
from jangtq_coordinator.engine.events import TokenGenerated
from jangtq_coordinator.engine.loaded_model import LoadedModel
from jangtq_coordinator.mlx_lm import load_tokenizer
from jangtq_coordinator.sampling.grammar import GrammarConstraint, Grammars
from jangtq_coordinator.sampling.grammar_wait import GrammarWait
from jangtq_coordinator.sampling.tool_grammar import answer_grammar, block_grammar
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
            answer_grammar(None, {"f": {"properties": {"x": {"type": "number", "not": {}}}}}, strict={"f"}),
            "not",
        ),
    ],
)
def test_schemas_that_cannot_be_followed(grammars: Grammars, grammar: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        new_constraint(grammars, grammar)
    assert caught.value.param == "response_format" and "\n" not in str(caught.value)


COLOURS = ["red", "blue"]
STRICT: dict[str, tuple[Schema, Sequence[object]]] = {
    "enum with null": ({"type": ["string", "null"], "enum": [*COLOURS, None]}, [*COLOURS, None]),
    "null beside an enum": ({"anyOf": [{"enum": COLOURS}, {"type": "null"}]}, [*COLOURS, None]),
    "constants": ({"oneOf": [{"const": c} for c in (*COLOURS, 7)]}, [*COLOURS, 7]),
    "reference": ({"$ref": "#/$defs/Colour"}, COLOURS),
    "reference with words": ({"allOf": [{"$ref": "#/$defs/Colour"}, {"description": "x"}]}, COLOURS),
    "reference to a parameter": ({"$ref": "#/properties/w"}, ["w"]),
    "text and number": ({"enum": ["seven", 7, True]}, ["seven", 7, True]),
    "the empty text": ({"enum": ["", "x"]}, ["", "x"]),
    "pattern beside null": (
        {"anyOf": [{"type": "string", "pattern": "^x{3}$"}, {"type": "null"}]},
        ["xxx", None],
    ),
    "shared enum": ({"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}, ["b"]),
    "names like tags": ({"enum": ["</parameter>", "[e~[", "<think>"]}, ["</parameter>", "[e~[", "<think>"]),
}


def arguments_of(grammars: Grammars, schema: Schema, seed: int) -> dict[str, Any]:
    grammar = answer_grammar(None, {"f": schema}, strict={"f"}, several=False, after_reasoning=False)
    text = answer(new_constraint(grammars, grammar), seed)
    blocks, block = AnswerBlocks({"f": schema}, lambda token: b""), ToolBlock()
    parts = [*block.feed(text.partition(BLOCK_START)[2]), *block.finish()]
    pieces = tuple(Piece(Channel.TOOL, part.text, part.step) for part in parts)
    blocks.add(TokenGenerated(0, pieces))
    (call,) = blocks.calls
    assert call.whole
    found: dict[str, Any] = json.loads(call.text)
    return found


@pytest.mark.parametrize("case", STRICT)
def test_strict_values_are_those_of_the_schema(grammars: Grammars, case: str) -> None:
    schema, allowed_values = STRICT[case]
    root: Schema = {
        "properties": {"v": schema, "w": {"const": "w"}},
        "required": ["v"],
        "$defs": {"Colour": {"type": "string", "enum": COLOURS}},
    }
    for seed in range(4):
        found = arguments_of(grammars, root, seed)["v"]
        assert any(found == value and type(found) is type(value) for value in allowed_values), found


@pytest.mark.parametrize("form", ["date", "time", "date-time", "uuid", "ipv4", "email"])
def test_strict_texts_have_their_format(grammars: Grammars, form: str) -> None:
    text = arguments_of(
        grammars, {"properties": {"v": {"type": "string", "format": form}}, "required": ["v"]}, 1
    )
    match form:
        case "date":
            datetime.date.fromisoformat(text["v"][:8] + "01")
        case "uuid":
            uuid.UUID(text["v"])
        case "ipv4":
            ipaddress.IPv4Address(text["v"])
        case "email":
            assert text["v"].count("@") == 1
        case _:
            assert text["v"].count(":") >= 2


NUMBER: Schema = {"properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    "root",
    [
        {"$ref": "#/$defs/R", "$defs": {"R": NUMBER}},
        {"allOf": [{"$ref": "#/$defs/R"}], "$defs": {"R": NUMBER}},
        {"anyOf": [NUMBER, {"properties": {"n": {"type": "integer", "minimum": 9}}, "required": ["n"]}]},
        {"type": "object", "oneOf": [NUMBER]},
    ],
)
def test_strict_parameters_hide_nowhere(grammars: Grammars, root: Schema) -> None:
    assert isinstance(arguments_of(grammars, root, 2)["n"], int)


ODD: dict[str, Schema] = {
    "propertyNames": {"type": "object", "propertyNames": {"type": "string"}},
    "not": {"type": "integer", "not": {"const": 3}},
    "if": {"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}},
    "unknown format": {"type": "array", "items": {"type": "string", "format": "color-hex"}},
    "look-ahead": {"type": "array", "items": {"type": "string", "pattern": "^(?!x)a"}},
    "type any": {"type": "any"},
    "nested": {"type": "object", "properties": {"a": {"type": "array", "contains": {"type": "integer"}}}},
    "nowhere": {"type": "array", "items": {"$ref": "#/nowhere"}},
    "itself": {"type": "array", "items": {"$ref": "#"}},
    "sibling": {"$ref": "#/properties/first"},
    "no schema": {"type": ["object", "null"], "properties": 5},
}


@pytest.mark.parametrize("case", ODD)
def test_what_cannot_be_expressed_is_left_out_of_tools_that_are_not_strict(
    grammars: Grammars, case: str
) -> None:
    tools = {"odd": {"properties": {"first": {"type": "object"}, "v": ODD[case]}}, "strict": WEATHER}
    new_constraint(grammars, block_grammar(tools, strict={"strict"}, several=False))
    new_constraint(grammars, answer_grammar(None, tools))


def test_white_space_in_json_is_bounded(grammars: Grammars) -> None:
    for space in (" ", "\n\n" + " " * 20):
        constraint = new_constraint(grammars, answer_grammar(POINT, {}, after_reasoning=False))
        say(constraint, "{" + space)
        assert {TOKENIZER.decode([token]) for token in allowed(constraint)} == {'"'}


CALL_BEGUN = '<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city">x</parameter>\n'


@pytest.mark.parametrize("reasoning", ["I look.\n", "A <minimax:tool_call> is due.\n", ""])
@pytest.mark.parametrize("required", [True, False])
def test_a_call_that_begins_in_the_reasoning_follows_the_grammar(
    grammars: Grammars, reasoning: str, required: bool
) -> None:
    tools = {"weather": WEATHER}
    grammar = answer_grammar(None, tools) if required else block_grammar(tools)
    waits = ["</think>"] if required else ["</think>", BLOCK_START]
    (constraint,) = grammars.constraints(grammar, waits=waits, calls=True, param="tools")
    say(constraint, reasoning)
    assert constraint.mask() is None
    say(constraint, CALL_BEGUN + '<parameter name="')
    assert {TOKENIZER.decode([token]) for token in allowed(constraint)} == {"d", "u"}


@given(st.lists(st.sampled_from(["</think>", BLOCK_START, "<invoke", " name", "\n", "x", "<"]), max_size=8))
def test_the_wait_ends_at_the_same_place_however_it_is_cut(parts: list[str]) -> None:
    text = "".join(parts)
    for waits in (["</think>"], ["</think>", BLOCK_START], [BLOCK_START], []):
        whole, single = GrammarWait(waits, calls=True), GrammarWait(waits, calls=True)
        begun = whole.feed(text)
        said, rest = "", ""
        for at, character in enumerate(text):
            if single.over:
                rest = text[at:]
                break
            said += single.feed(character)
        assert single.over == whole.over
        assert not whole.over or said + rest == begun or not waits


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
