"""The arguments of one tool call as JSON, by the types that the tool's schema allows. Knows no HTTP."""

import json
from enum import Enum, auto

from jangtq_coordinator.text.schema_types import Schema, Types, allowed_types, property_schema
from jangtq_coordinator.text.tool_values import is_text, may_be_other, parse_json, value_json

__all__ = ["ArgumentWriter", "Schema", "parse_json"]


class ArgumentWriter:
    """One call's arguments as one JSON object, part by part. `schema` is that of the object.

    The text of a string leaves as it comes; other values wait for their end, which decides what they are.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._types: Types = frozenset()
        self._held = ""
        self._state = _Writing.NOTHING

    def parameter(self, name: str) -> str:
        """The value before this ends, and another one begins."""
        separator = "{" if self._state is _Writing.NOTHING else f"{self._end_value()}, "
        self._types = allowed_types(property_schema(self._schema, name), self._schema)
        self._state, self._held = _Writing.HELD, ""
        return f"{separator}{json.dumps(name, ensure_ascii=False)}: "

    def value(self, text: str) -> str:
        """More of the value."""
        if self._state is _Writing.STRING:
            return _escaped(text)
        self._held += text
        if not is_text(self._types) or may_be_other(self._held, self._types):
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


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
