"""The values of a tool call as JSON, by the types that the tool's schema allows. Knows no markup and no HTTP.

Where a string is allowed the text is the value, character by character; only a text null is null where the
schema allows that too. Other values are the JSON that the model wrote, digit by digit, or else a string.
"""

import json
import math
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

Schema = Mapping[str, object]

_TYPE_OF: Final[dict[type, str]] = {
    bool: "boolean",
    dict: "object",
    float: "number",
    int: "integer",
    list: "array",
    str: "string",
    type(None): "null",
}


class ArgumentWriter:
    """One call's arguments as one JSON object, part by part. `schema` is that of the object.

    The text of a string leaves as it comes; other values wait for their end, which decides what they are.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._types: frozenset[str] = frozenset()
        self._held = ""
        self._state = _Writing.NOTHING

    def parameter(self, name: str) -> str:
        """The value before this ends, and another one begins."""
        separator = "{" if self._state is _Writing.NOTHING else f"{self._end_value()}, "
        self._types = allowed_types(_property(self._schema, name), self._schema)
        self._state, self._held = _Writing.HELD, ""
        return f"{separator}{json.dumps(name, ensure_ascii=False)}: "

    def value(self, text: str) -> str:
        """More of the value."""
        if self._state is _Writing.STRING:
            return _escaped(text)
        self._held += text
        if not is_text(self._types) or ("null" in self._types and "null".startswith(self._held)):
            return ""
        self._state = _Writing.STRING
        return f'"{_escaped(self._held)}'

    def end(self) -> str:
        """The end of all."""
        return "{}" if self._state is _Writing.NOTHING else f"{self._end_value()}}}"

    def _end_value(self) -> str:
        return '"' if self._state is _Writing.STRING else value_json(self._held, self._types)


class _Writing(Enum):
    """What an ArgumentWriter is in the middle of."""

    NOTHING = auto()
    HELD = auto()
    STRING = auto()


def is_text(types: frozenset[str]) -> bool:
    """Whether the text itself is the value."""
    return "string" in types or not types


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def value_json(text: str, types: frozenset[str]) -> str:
    """`text` as JSON of one of `types`; a string where it is nothing else, or where there are no types."""
    if is_text(types) and not (text == "null" and "null" in types):
        return json.dumps(text, ensure_ascii=False)
    try:
        value = parse_json(text)
    except ValueError:
        return json.dumps(text, ensure_ascii=False)
    return text.strip() if _is_one_of(value, types) else json.dumps(text, ensure_ascii=False)


def parse_json(text: str) -> object:
    """The value of a JSON text. Raises ValueError also for what has no finite value or nests too deep."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("JSON nested too deep") from None


def allowed_types(schema: object, root: Schema) -> frozenset[str]:
    """The JSON types that a schema allows, as far as it tells; empty where it allows anything."""
    types: frozenset[str] = frozenset()
    pending, followed = [schema], set[str]()
    while pending:
        part = pending.pop()
        if not isinstance(part, Mapping):
            return frozenset()
        if isinstance(reference := part.get("$ref"), str):
            # Schemas may refer to themselves.
            pending += [] if reference in followed else [_referred(reference, root)]
            followed.add(reference)
        elif choices := _choices(part):
            pending += choices
        elif own := _own_types(part):
            types |= own
        else:
            return frozenset()
    return types


def _choices(schema: Schema) -> list[object]:
    choices = next((schema[key] for key in ("anyOf", "oneOf", "allOf") if key in schema), None)
    return choices if isinstance(choices, list) and "type" not in schema else []


def _own_types(schema: Schema) -> frozenset[str]:
    if own := schema.get("type"):
        return frozenset(name for name in (own if isinstance(own, list) else [own]) if isinstance(name, str))
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return frozenset(_TYPE_OF[type(value)] for value in values) if isinstance(values, list) else frozenset()


def _property(schema: Schema, name: str) -> object:
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        return properties[name]
    return schema.get("additionalProperties")


def _referred(reference: str, root: Schema) -> object:
    """What a reference such as #/$defs/Name stands for; None where there is no such place."""
    place: object = root
    for key in reference.removeprefix("#").split("/")[1:]:
        place = place.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(place, Mapping) else None
    return place


def _is_one_of(value: object, types: frozenset[str]) -> bool:
    kind = _TYPE_OF[type(value)]
    if kind == "integer":
        return bool(types & {"integer", "number"})
    if isinstance(value, float) and value.is_integer() and "integer" in types:
        return True
    return kind in types


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is beyond the range of numbers")
    return value
