"""JSON schemas brought into the forms that a grammar can be made of. Knows no grammar's syntax.

References, also those to anywhere in the tool's schema, are followed; combinations become alternatives; and
what llguidance cannot express can be left out, the narrowest part first.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from llguidance import LLMatcher

from jangtq_coordinator.text.schema_types import TYPE_OF, Schema, referred

_COMBINED: Final = ("$ref", "allOf", "anyOf", "oneOf")
_MOST_VARIANTS: Final = 64
_KNOWN_TYPES: Final = frozenset(TYPE_OF.values())
_SHAPE: Final = frozenset(
    {"type", "properties", "required", "items", "prefixItems", "additionalProperties", "enum", "const"}
    | {"$ref", "$defs", "anyOf", "allOf"}
)
_LIMITS: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"}
    | {"minLength", "maxLength"}
)
_NAMED: Final = frozenset({"properties", "$defs"})
_LISTED: Final = frozenset({"anyOf", "allOf", "prefixItems"})
# One blank, or at most two line breaks and 20 blanks, as in llama.cpp: a model could go on for ever.
_JSON_OPTIONS: Final = {"whitespace_pattern": r"( |\n{1,2}[ \t]{0,20})"}


def variants(schema: object, root: Schema) -> list[Schema]:
    """Alternatives without references or combinations at the top; one that allows anything for too many."""
    found = _variants(schema, root, frozenset())
    return found if len(found) <= _MOST_VARIANTS else [{}]


def json_grammar(schema: Schema, root: Schema, *, strict: bool) -> str:
    """A JSON schema for llguidance whose references are its own. Not `strict`: as much as it can express."""
    whole = with_own_definitions(schema, root)
    return _encoded(whole) if strict else _expressible(json.dumps(whole))


def with_own_definitions(schema: Schema, root: Schema) -> Schema:
    """The same schema with all that it refers to in its own $defs."""
    names: dict[str, str] = {}
    definitions: dict[str, object] = {}

    def rename(reference: str) -> str:
        if reference not in names:
            names[reference] = f"d{len(names)}"
            definitions[names[reference]] = True
            target = referred(reference, root)
            definitions[names[reference]] = (
                {"$ref": reference} if target is None else _map_references(target, rename)
            )
        return f"#/$defs/{names[reference]}"

    own = _map_references(
        {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}, rename
    )
    assert isinstance(own, dict)
    return own | {"$defs": definitions} if definitions else own


def _map_references(value: object, rename: Callable[[str], str]) -> object:
    if isinstance(value, list):
        return [_map_references(each, rename) for each in value]
    return _rename_in(value, rename) if isinstance(value, Mapping) else value


def _rename_in(schema: Schema, rename: Callable[[str], str]) -> dict[str, object]:
    return {
        key: rename(each) if key == "$ref" and isinstance(each, str) else _map_references(each, rename)
        for key, each in schema.items()
    }


@lru_cache(maxsize=4096)
def _expressible(text: str) -> str:
    """The most of a schema that can be expressed; any JSON where that is nothing."""
    schema = json.loads(text)
    for kept in (None, _SHAPE | _LIMITS, _SHAPE):
        encoded = _encoded(schema if kept is None else _reduced(schema, kept))
        if not LLMatcher.validate_grammar(f"start: %json {encoded}\n"):
            return encoded
    return _encoded({})


def _encoded(schema: object) -> str:
    own = dict(schema) if isinstance(schema, Mapping) else {}
    return json.dumps(own | {"x-guidance": _JSON_OPTIONS})


def _reduced(schema: object, kept: frozenset[str]) -> object:
    if not isinstance(schema, Mapping):
        return schema
    reduced: dict[str, object] = {}
    for key, value in schema.items():
        name = "anyOf" if key == "oneOf" else key
        if name in _NAMED and isinstance(value, Mapping):
            reduced[name] = {each: _reduced(part, kept) for each, part in value.items()}
        elif name in _LISTED and isinstance(value, list):
            reduced[name] = [_reduced(part, kept) for part in value]
        elif name in ("items", "additionalProperties"):
            reduced[name] = _reduced(value, kept)
        elif name in kept and (name != "type" or _is_known_type(value)):
            reduced[name] = value
    return reduced


def _is_known_type(value: object) -> bool:
    names = value if isinstance(value, list) else [value]
    return all(isinstance(name, str) and name in _KNOWN_TYPES for name in names)


def _variants(schema: object, root: Schema, seen: frozenset[str]) -> list[Schema]:
    if not isinstance(schema, Mapping):
        return [{}]
    found: list[Schema] = [{key: value for key, value in schema.items() if key not in _COMBINED}]
    for choices in _combined(schema, root, seen):
        found = [_merged(one, other) for one in found for other in choices]
        if len(found) > _MOST_VARIANTS:
            break
    return found


def _combined(schema: Schema, root: Schema, seen: frozenset[str]) -> Iterator[list[Schema]]:
    """For each demand that is joined to a schema, its alternatives."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        yield _variants(referred(reference, root), root, seen | {reference})
    for each in _list(schema.get("allOf")):
        yield _variants(each, root, seen)
    for key in ("anyOf", "oneOf"):
        if choices := _list(schema.get(key)):
            yield [variant for each in choices for variant in _variants(each, root, seen)]


def _merged(one: Schema, other: Schema) -> Schema:
    """Both demands. Where they differ in anything but parameters and values, the later one holds."""
    merged = {**one, **other}
    for key in ("properties", "patternProperties"):
        if isinstance(left := one.get(key), Mapping) and isinstance(right := other.get(key), Mapping):
            merged[key] = {**left, **right}
    if "required" in one and "required" in other:
        merged["required"] = [*_list(one["required"]), *_list(other["required"])]
    if "enum" in one and "enum" in other:
        merged["enum"] = [value for value in _list(one["enum"]) if value in _list(other["enum"])]
    return merged


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
