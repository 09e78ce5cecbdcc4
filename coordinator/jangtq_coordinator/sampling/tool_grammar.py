"""Grammars of constrained answers, in llguidance's Lark form: JSON values and blocks of tool calls.

Knows no tokens. Parameters come in the order of the schema, optional ones or not; texts end at the first end
tag, and keep to the pattern and the lengths of their schema where `text_limits` can say them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from jangtq_coordinator.sampling.string_regex import text_limits
from jangtq_coordinator.text.schema_types import Schema, allowed_types
from jangtq_coordinator.text.tool_calls import BLOCK_END, BLOCK_START
from jangtq_coordinator.text.tool_values import is_text

_BREAK: Final = "\n"
# Unbounded white space would let a model go on for ever without a value.
_JSON_OPTIONS: Final = {"whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,40}"}
_NO_END_TAG: Final = r"~/(?s:.*<\/parameter>\n.*)/"
_RULES: Final = (
    'any: "<parameter name=\\"" /[^"\\n]+/ "\\">" text\ntext[suffix="</parameter>\\n"]: /(?s:.*)/\n'
)


def answer_grammar(
    schema: Schema | None, tools: Mapping[str, Schema], *, several: bool = True, after_reasoning: bool = True
) -> str:
    """An answer that is a JSON value of `schema` or a block of calls of `tools`, whichever are given.

    After reasoning the line breaks may stand before it that belong to the end of that.
    """
    value = [] if schema is None else [_json(schema, schema)]
    block = [f"/\\n?/ {_text(BLOCK_START + _BREAK)} {_rest(several)}"] if tools else []
    breaks = r"/\n{0,2}/" if after_reasoning else ""
    return f"start: {breaks} ({' | '.join(value + block)})\n" + _rules(tools)


def block_grammar(tools: Mapping[str, Schema], *, several: bool = True) -> str:
    """What follows the tag that begins a block of calls of `tools`."""
    return f"start: /\\n?/ {_rest(several)}\n" + _rules(tools)


def _rest(several: bool) -> str:
    return f"{'call+' if several else 'call'} {_text(BLOCK_END)}"


def _rules(tools: Mapping[str, Schema]) -> str:
    if not tools:
        return ""
    calls = "".join(_call(f"call_{at}", name, schema) for at, (name, schema) in enumerate(tools.items()))
    return f"call: {' | '.join(f'call_{at}' for at in range(len(tools)))}\n{calls}{_RULES}"


def _call(rule: str, name: str, schema: Schema) -> str:
    """The rule of a tool's call, and those of its parameters, by their places."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        required = schema.get("required")
        needed = required if isinstance(required, Sequence) else ()
        parameters = [f"{rule}_{at}{'' if key in needed else '?'}" for at, key in enumerate(properties)]
        rules = [
            f"{rule}_{at}: {_parameter(f'{rule}_{at}', key, part, schema)}\n"
            for at, (key, part) in enumerate(properties.items())
        ]
    else:
        parameters, rules = ["any*"], []
    tag = f'<invoke name="{name}">\n'
    return " ".join((f"{rule}:", _text(tag), *parameters, _text("</invoke>\n"))) + "\n" + "".join(rules)


def _parameter(rule: str, name: str, schema: object, root: Schema) -> str:
    opening, closing = _text(f'<parameter name="{name}">'), _text("</parameter>\n")
    types = allowed_types(schema, root)
    if choices := _literals(schema):
        return f"{opening} ({' | '.join(map(_text, choices))}) {closing}"
    if is_text(types):
        limits = text_limits(schema)
        return f"{opening} {rule}_text\n{_text_rule(f'{rule}_text', limits)}" if limits else f"{opening} text"
    return f"{opening} {_json(schema, root)} {closing}"


def _text_rule(name: str, limits: Sequence[str]) -> str:
    """Like `text`, but for limits; and an end tag that comes too early for them is no part of the text."""
    return f'{name}[suffix="</parameter>\\n"]: {" & ".join((*limits, _NO_END_TAG))}'


def _literals(schema: object) -> list[str]:
    """The strings that a schema lists, where it lists strings only."""
    if not isinstance(schema, Mapping):
        return []
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    strings = [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
    return strings if isinstance(values, list) and len(strings) == len(values) and all(strings) else []


def _json(schema: object, root: Schema) -> str:
    """A JSON value; references reach the definitions of the whole schema."""
    shared = {key: root[key] for key in ("$defs", "definitions") if key in root}
    own = dict(schema) if isinstance(schema, Mapping) else {}
    return f"%json {json.dumps(shared | own | {'x-guidance': _JSON_OPTIONS})}"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
