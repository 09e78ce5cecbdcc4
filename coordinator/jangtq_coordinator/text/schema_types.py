"""What the JSON schema of a tool says about one parameter, wherever it says it. Knows no values.

References are resolved against the tool's whole schema, which is also their root in nested places.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote

Schema = Mapping[str, object]
Types = frozenset[str]

TYPE_OF: Final[dict[type, str]] = {
    bool: "boolean",
    dict: "object",
    float: "number",
    int: "integer",
    list: "array",
    str: "string",
    type(None): "null",
}
_SPELLINGS: Final = {
    "bool": "boolean",
    "dict": "object",
    "double": "number",
    "float": "number",
    "int": "integer",
    "list": "array",
    "none": "null",
    "str": "string",
    "text": "string",
    "tuple": "array",
}
_OBJECT_KEYS: Final = frozenset({"properties", "patternProperties", "additionalProperties", "required"})
_ARRAY_KEYS: Final = frozenset({"items", "prefixItems", "minItems", "maxItems"})
_CHOICES: Final = ("anyOf", "oneOf")


def allowed_types(schema: object, root: Schema) -> Types:
    """The JSON types that a schema allows, if it states them; empty if it allows any."""
    return _types(schema, root, frozenset()) or frozenset()


def property_schema(root: Schema, name: str) -> object:
    """The schema of a parameter, in any part of the root; None if there is none."""
    parts = list(_parts(root, root))
    found = [found for part in parts for found in _named(part, name)]
    if not found:
        extra = [part["additionalProperties"] for part in parts if "additionalProperties" in part]
        found = [each for each in extra if isinstance(each, Mapping)]
    return found[0] if len(found) == 1 else {"anyOf": found} if found else None


def referred(reference: str, root: Schema) -> object:
    """What a reference such as #/$defs/Name stands for; None where there is no such place."""
    place: object = root
    for key in unquote(reference).removeprefix("#").split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        if isinstance(place, list) and key.isdecimal() and int(key) < len(place):
            place = place[int(key)]
        else:
            place = place.get(key) if isinstance(place, Mapping) else None
    return place


def _parts(schema: object, root: Schema, seen: tuple[object, ...] = ()) -> Iterator[Schema]:
    """A schema and all that it is joined with or may be instead, each once."""
    if not isinstance(schema, Mapping) or any(schema is each for each in seen):
        return
    yield schema
    seen = (*seen, schema)
    if isinstance(reference := schema.get("$ref"), str):
        yield from _parts(referred(reference, root), root, seen)
    for key in ("allOf", *_CHOICES):
        for each in _list(schema.get(key)):
            yield from _parts(each, root, seen)


def _named(part: Schema, name: str) -> Iterator[object]:
    properties, patterns = part.get("properties"), part.get("patternProperties")
    if isinstance(properties, Mapping) and name in properties:
        yield properties[name]
    elif isinstance(patterns, Mapping):
        yield from (schema for pattern, schema in patterns.items() if _matches(pattern, name))


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name[:256]) is not None
    except (re.error, RecursionError):
        return False


def _types(schema: object, root: Schema, seen: frozenset[str]) -> Types | None:
    """None for anything; nothing for a reference that leads back to itself."""
    if not isinstance(schema, Mapping):
        return None
    demands: list[Types | None] = [_own_types(schema)]
    if isinstance(reference := schema.get("$ref"), str):
        followed = reference in seen
        demands += (
            [frozenset()] if followed else [_types(referred(reference, root), root, seen | {reference})]
        )
    demands += [_types(each, root, seen) for each in _list(schema.get("allOf"))]
    for key in _CHOICES:
        if choices := _list(schema.get(key)):
            demands.append(_any_of([_types(each, root, seen) for each in choices]))
    allowed = _all_of([each for each in demands if each is not None])
    return allowed | {"null"} if allowed is not None and schema.get("nullable") is True else allowed


def _any_of(choices: list[Types | None]) -> Types | None:
    known = [each for each in choices if each is not None]
    return frozenset().union(*known) if len(known) == len(choices) else None


def _all_of(demands: list[Types]) -> Types | None:
    """None where nothing is demanded. Demands that contradict each other are all allowed."""
    if not demands:
        return None
    known = [each for each in demands if each]
    shared = known[0] if known else frozenset()
    for each in known[1:]:
        shared = (_with_integers(shared) & _with_integers(each)) or shared | each
    return shared


def _with_integers(types: Types) -> Types:
    return types | {"integer"} if "number" in types else types


def _own_types(schema: Schema) -> Types | None:
    if own := schema.get("type"):
        names = [each.lower() for each in (own if isinstance(own, list) else [own]) if isinstance(each, str)]
        types = frozenset(_SPELLINGS.get(each, each) for each in names)
        return types if types and types <= set(TYPE_OF.values()) else None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list) and values:
        return frozenset(TYPE_OF[type(value)] for value in values)
    if _OBJECT_KEYS & schema.keys():
        return frozenset({"object"})
    return frozenset({"array"}) if _ARRAY_KEYS & schema.keys() else None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
