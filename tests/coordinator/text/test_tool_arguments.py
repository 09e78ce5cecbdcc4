"""Arguments of tool calls as JSON: what the model wrote comes out, by the types that the schema allows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.text.schema_types import Schema, allowed_types, property_schema
from jangtq_coordinator.text.tool_arguments import ArgumentWriter
from jangtq_coordinator.text.tool_values import value_json


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
        ("5", "string integer", "5"),
        ("5 ", "string integer", '"5 "'),
        ("007", "string integer", '"007"'),
        ("x5", "string integer", '"x5"'),
        ("None", "string null", "null"),
        ("Nonesuch", "string null", '"Nonesuch"'),
        ("None", "boolean null", "null"),
        ("True", "string boolean", "true"),
        ("yes", "string boolean", '"yes"'),
        ("yes", "boolean", "true"),
        ("0", "boolean", "false"),
        ("1", "boolean integer", "1"),
        ('["x"]', "string array", '["x"]'),
        ("['x']", "string array", '["x"]'),
        ("[x]", "string array", '"[x]"'),
        ('{"k": 1}', "string object", '{"k": 1}'),
        ("{'k': True, 'l': null}", "object", '{"k": true, "l": null}'),
        ('{"k": "a\nb"}', "object", '{"k": "a\\nb"}'),
        ("('x', 2)", "array", '["x", 2]'),
        ("{1, 2}", "object array", '"{1, 2}"'),
        ("['\\ud800']", "array", '["\\ud800"]'),
        ("['\\d']", "array", '["\\\\d"]'),
        ("__import__('os')", "object", "\"__import__('os')\""),
        ("+5", "integer", "5"),
        (".5", "number", "0.5"),
        ("1_0", "integer", '"1_0"'),
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
        ("True", "boolean", "true"),
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
    "allOf": [{"type": "boolean"}],
    "$defs": {
        "Day": {"enum": ["mon", 2]},
        "Loop": {"$ref": "#/$defs/Loop"},
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
        ({"type": "any"}, ""),
        ({"type": "float"}, "number"),
        ({"type": "integer", "nullable": True}, "integer null"),
        ({"allOf": [{"type": "integer"}, {"minimum": 0}]}, "integer"),
        ({"allOf": [{"type": "number"}, {"type": "integer"}]}, "integer"),
        ({"allOf": [{"$ref": "#/$defs/Day"}, {"type": "string"}]}, "string"),
        ({"type": "integer", "anyOf": [{"minimum": 1}, {"maximum": -1}]}, "integer"),
        ({"properties": {}}, "object"),
        ({"items": {"type": "integer"}}, "array"),
        ({"$ref": "#/properties/day"}, "string integer"),
        ({"$ref": "#/allOf/0"}, "boolean"),
        ({"$ref": "#"}, "object boolean"),
        (True, ""),
        (None, ""),
    ],
)
def test_allowed_types(schema: object, expected: str) -> None:
    assert allowed_types(schema, ROOT) == set(expected.split())


NUMBER = {"type": "object", "properties": {"v": {"type": "number"}}}


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (NUMBER, "number"),
        ({"oneOf": [NUMBER, {"properties": {"w": {"type": "string"}}}]}, "number"),
        ({"anyOf": [NUMBER, {"properties": {"v": {"type": "null"}}}]}, "number null"),
        ({"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": NUMBER}}, "number"),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": NUMBER}}, "number"),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}, ""),
        ({"$ref": "#"}, ""),
        ({"patternProperties": {"^v": {"type": "integer"}, "^w": {"type": "null"}}}, "integer"),
        ({"patternProperties": {"(": {"type": "integer"}}}, ""),
        ({"additionalProperties": {"type": "integer"}}, "integer"),
        ({"additionalProperties": False}, ""),
        ({"allOf": [NUMBER], "additionalProperties": {"type": "null"}}, "number"),
        ({}, ""),
    ],
)
def test_parameters_are_found_wherever_they_stand(root: Schema, expected: str) -> None:
    assert allowed_types(property_schema(root, "v"), root) == set(expected.split())


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


VALUE_PIECES = (
    *("nul", "l", "null", "Tru", "e", "5", "-", "[", "]", "{", "}", "'x'", "{}", "7", "1e999"),
    *('"', "\\", "é\n", " "),
)
TYPES = [
    ["string"],
    ["string", "null"],
    ["number", "null"],
    ["object"],
    [],
    ["null"],
    ["string", "integer"],
    ["string", "array", "boolean"],
    ["string", "object", "null"],
]


@given(
    st.lists(
        st.sampled_from(VALUE_PIECES),
        max_size=5,
    ),
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
