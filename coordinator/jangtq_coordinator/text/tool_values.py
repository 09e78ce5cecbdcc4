"""The text of one argument as JSON of the types that its schema allows. Knows no schema and no markup.

Where a string is allowed beside other types, a text that reads as one of those, from its first character to
its last, is that; every other text is the string. Values come as JSON, digit by digit, or as the model often
writes them: True, None, Python's lists, line breaks within JSON.
"""

import ast
import json
import math
import re
import warnings
from typing import Final

from jangtq_coordinator.text.schema_types import TYPE_OF, Types

_MOST_PYTHON: Final = 1 << 16
"""Python's own parser takes a hundred times as long as that of JSON."""
_NULLS: Final = ("null", "none", "nil")
_TRUTHS: Final = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "off", "0"), False
)
_NUMBER_BEGUN: Final = re.compile(r"[-+]?[0-9]{0,400}\.?[0-9]{0,400}([eE][-+]?[0-9]{0,5})?")
_JSON_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_JSON_NAMES: Final = {"null": None, "true": True, "false": False}


def is_text(types: Types) -> bool:
    """Whether the text itself may be the value."""
    return "string" in types or not types


def may_be_other(text: str, types: Types) -> bool:
    """Whether a text that begins so may still become a value of another type than string."""
    begun = text.lower()
    return bool(
        ("null" in types and any(word.startswith(begun) for word in _NULLS))
        or ("boolean" in types and any(word.startswith(begun) for word in ("true", "false")))
        or ({"integer", "number"} & types and _NUMBER_BEGUN.fullmatch(text))
        or ("object" in types and text[:1] in ("", "{"))
        or ("array" in types and text[:1] in ("", "["))
    )


def value_json(text: str, types: Types) -> str:
    """`text` as JSON of one of `types`; a string where it is nothing else, or where there are no types."""
    string = json.dumps(text, ensure_ascii=False)
    if not is_text(types):
        return _other_json(text.strip(), types) or string
    others = types - {"string"}
    bare = text == text.strip() and may_be_other(text, others)
    # 007 and .5 are no JSON, and more likely names than numbers.
    spelled = bare and not _is_odd_number(text)
    return (_other_json(text, others) if spelled else None) or string


def parse_json(text: str) -> object:
    """The value of a JSON text. Raises ValueError also for what has no finite value or nests too deep."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("JSON nested too deep") from None


def _is_odd_number(text: str) -> bool:
    return _NUMBER_BEGUN.fullmatch(text) is not None and _JSON_NUMBER.fullmatch(text) is None


def _other_json(text: str, types: Types) -> str | None:
    """JSON of a type that is no string; None where the text reads as none."""
    try:
        value = parse_json(text)
    except ValueError:
        return _loose_json(text, types)
    return text if is_one_of(value, types) else _word_json(text, types)


def _loose_json(text: str, types: Types) -> str | None:
    if (word := _word_json(text, types)) is not None:
        return word
    for parse in (_parse_broken_lines, _parse_number, _parse_python):
        try:
            value = parse(text)
            if is_one_of(value, types):
                return _dump(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _word_json(text: str, types: Types) -> str | None:
    word = text.lower()
    if "null" in types and word in _NULLS:
        return "null"
    if "boolean" in types and word in _TRUTHS:
        return json.dumps(_TRUTHS[word])
    return None


def is_one_of(value: object, types: Types) -> bool:
    """Whether a value is of one of the types; 5.0 is an integer, too."""
    kind = TYPE_OF.get(type(value))
    if kind == "integer":
        return bool(types & {"integer", "number"})
    if isinstance(value, float) and value.is_integer() and "integer" in types:
        return True
    return kind in types


def _parse_broken_lines(text: str) -> object:
    return json.loads(text, strict=False, parse_float=_finite, parse_constant=_finite)


def _parse_number(text: str) -> object:
    if _NUMBER_BEGUN.fullmatch(text) is None:
        raise ValueError(text)
    try:
        return int(text)
    except ValueError:
        return _finite(text)


def _parse_python(text: str) -> object:
    if len(text) > _MOST_PYTHON or text[:1] not in ("[", "{", "("):
        raise ValueError("no list or dictionary that Python's parser should read")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python does not know
        value = ast.literal_eval(_JsonNames().visit(ast.parse(text, mode="eval")))
    return list(value) if isinstance(value, tuple) else value


class _JsonNames(ast.NodeTransformer):
    """Lets null, true and false stand among Python's literals."""

    def visit_Name(self, node: ast.Name) -> ast.AST:  # noqa: N802 - the name that ast asks for
        return ast.Constant(_JSON_NAMES[node.id]) if node.id in _JSON_NAMES else node


def _dump(value: object) -> str:
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        written.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return written


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is beyond the range of numbers")
    return value
