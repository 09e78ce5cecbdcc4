"""Arguments of tool calls as JSON: what the model wrote comes out, by the types that the schema allows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.text.tool_arguments import ArgumentWriter, allowed_types, value_json


@given(st.text())
def test_strings_stay_as_they_are(text: str) -> None:
    assert json.loads(value_json(text, frozenset({"string"}))) == text
    assert json.loads(value_json(text, frozenset())) == text


@given(st.text(), st.sets(st.sampled_from(["integer", "number", "boolean", "object", "array", "null"])))
def test_any_text_for_any_types_is_json(text: str, types: set[str]) -> None:
    json.loads(value_json(text, frozenset(types)))


@pytest.mark.parametrize(
    ("text", "types", "expected"),
    [
        ("null", "string", '"null"'),
        ("null", "string null", "null"),
        (" null", "string null", '" null"'),
        ("5", "string integer", '"5"'),
        ("5", "integer", "5"),
        ("\n5 ", "integer", "5"),
        ("5", "number", "5"),
        ("1.10", "number", "1.10"),
        ("12345678901234567890123", "integer", "12345678901234567890123"),
        ("5.0", "integer", "5.0"),
        ("5.5", "integer", '"5.5"'),
        ("1e999", "number", '"1e999"'),
        ("-1e999", "number", '"-1e999"'),
        ("[1e999]", "array", '"[1e999]"'),
        ("NaN", "number", '"NaN"'),
        ("9" * 5000, "integer", f'"{"9" * 5000}"'),
        ("true", "boolean", "true"),
        ("True", "boolean", '"True"'),
        ("true", "integer", '"true"'),
        ('{"b": 1.0, "a": "é"}', "object", '{"b": 1.0, "a": "é"}'),
        ("[1, 2", "array", '"[1, 2"'),
        ("", "integer", '""'),
    ],
)
def test_values(text: str, types: str, expected: str) -> None:
    assert value_json(text, frozenset(types.split())) == expected


def test_json_nested_too_deep_is_a_string() -> None:
    text = "[" * 100_000
    assert value_json(text, frozenset({"array"})) == json.dumps(text)


ROOT = {
    "properties": {
        "day": {"$ref": "#/$defs/Day"},
        "tree": {"$ref": "#/$defs/Tree"},
    },
    "$defs": {
        "Day": {"enum": ["mon", 2]},
        "Tree": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"$ref": "#/$defs/Tree"}, {"type": "integer"}]},
    },
}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer"}, "integer"),
        ({"type": ["string", "null"]}, "string null"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer null"),
        ({"anyOf": [{"type": "integer"}, {}]}, ""),
        ({"const": True}, "boolean"),
        ({"$ref": "#/$defs/Day"}, "string integer"),
        ({"$ref": "#/$defs/Tree"}, "integer"),
        ({"$ref": "#/$defs/Nowhere"}, ""),
        ({"type": 5}, ""),
        (True, ""),
        (None, ""),
    ],
)
def test_allowed_types(schema: object, expected: str) -> None:
    assert allowed_types(schema, ROOT) == set(expected.split())


def test_parts_make_one_object() -> None:
    schema = {"properties": {"n": {"type": "integer"}}, "additionalProperties": {"type": "boolean"}}
    writer = ArgumentWriter(schema)
    parts = [
        writer.parameter("n"),
        writer.value("5"),
        writer.parameter('q"'),
        writer.value("tr"),
        writer.value("ue"),
    ]
    parts += [writer.parameter("s"), writer.value("x\n"), writer.end()]
    assert "".join(parts) == '{"n": 5, "q\\"": true, "s": "x\\n"}'
    assert ArgumentWriter(schema).end() == "{}"


TYPES = [["string"], ["string", "null"], ["number", "null"], ["object"], [], ["null"]]


@given(
    st.lists(st.sampled_from(["nul", "l", "null", '"', "\\", "é\n", " ", "1e999", "{}", "7"]), max_size=5),
    st.sampled_from(TYPES),
)
def test_the_cut_of_a_value_changes_nothing(texts: list[str], types: list[str]) -> None:
    schema = {"properties": {"x": {"type": types} if types else {}}}
    whole, parts = ArgumentWriter(schema), ArgumentWriter(schema)
    expected = whole.parameter("x") + whole.value("".join(texts)) + whole.end()
    found = parts.parameter("x") + "".join(parts.value(c) for text in texts for c in text) + parts.end()
    assert found == expected == f'{{"x": {value_json("".join(texts), frozenset(types))}}}'


def test_the_text_of_a_string_leaves_as_it_comes() -> None:
    writer = ArgumentWriter({"properties": {"x": {"type": ["string", "null"]}}})
    parts = [writer.parameter("x"), *map(writer.value, ("nu", "ance", '"')), writer.end()]
    assert parts == ['{"x": ', "", '"nuance', '\\"', '"}']
