"""The values of a tool call as JSON, by the types that the tool's schema allows. Knows no markup and no HTTP.

Where a string is allowed the text is the value, character by character; only a text null is null where the
schema allows that too. Other values are the JSON that the model wrote, digit by digit, or else a string.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Final

from jangtq_coordinator.tool_calls import Invoke

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


def argument_fragments(invoke: Invoke, schema: Schema) -> Iterator[str]:
    """The call's arguments in parts that together are one JSON object. `schema` is that of the object."""
    opening = "{"
    for name, text in invoke.parameters:
        value = value_json(text, allowed_types(_property(schema, name), schema))
        yield f"{opening}{json.dumps(name, ensure_ascii=False)}: {value}"
        opening = ", "
    yield "}" if invoke.parameters else "{}"


def value_json(text: str, types: frozenset[str]) -> str:
    """`text` as JSON of one of `types`; a string where it is nothing else, or where there are no types."""
    plain = "string" in types or not types
    if plain and not (text == "null" and "null" in types):
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
