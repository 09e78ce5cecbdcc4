"""Grammars of constrained answers, in llguidance's Lark form: JSON values and blocks of tool calls.

Knows no tokens. Parameters come in the order of the schema, optional ones or not; texts end at the first end
tag, and keep to the pattern, the format and the lengths of their schema where `text_limits` can say them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final

from jangtq_coordinator.sampling.schema_forms import json_grammar, variants
from jangtq_coordinator.sampling.string_regex import text_limits
from jangtq_coordinator.text.schema_types import Schema, allowed_types
from jangtq_coordinator.text.tool_calls import BLOCK_END, BLOCK_START
from jangtq_coordinator.text.tool_values import is_text

_BREAK: Final = "\n"
_CLOSING: Final = "</parameter>\n"
_NO_END_TAG: Final = r"~/(?s:.*<\/parameter>\n.*)/"
_RULES: Final = (
    'any: "<parameter name=\\"" /[^"\\n]+/ "\\">" text\ntext[suffix="</parameter>\\n"]: /(?s:.*)/\n'
)


def answer_grammar(
    schema: Schema | None,
    tools: Mapping[str, Schema],
    *,
    strict: Set[str] = frozenset(),
    several: bool = True,
    after_reasoning: bool = True,
) -> str:
    """An answer that is a JSON value of `schema` or a block of calls of `tools`, whichever are given.

    After reasoning the line breaks may stand before it that belong to the end of that. Of tools that are not
    `strict`, demands that cannot be expressed are left out.
    """
    value = [] if schema is None else [f"%json {json_grammar(schema, schema, strict=True)}"]
    block = [f"/\\n?/ {_text(BLOCK_START + _BREAK)} {_rest(several)}"] if tools else []
    breaks = r"/\n{0,2}/" if after_reasoning else ""
    return f"start: {breaks} ({' | '.join(value + block)})\n" + _rules(tools, strict)


def block_grammar(
    tools: Mapping[str, Schema], *, strict: Set[str] = frozenset(), several: bool = True
) -> str:
    """What follows the tag that begins a block of calls of `tools`."""
    return f"start: /\\n?/ {_rest(several)}\n" + _rules(tools, strict)


def _rest(several: bool) -> str:
    return f"{'call+' if several else 'call'} {_text(BLOCK_END)}"


def _rules(tools: Mapping[str, Schema], strict: Set[str]) -> str:
    if not tools:
        return ""
    calls = "".join(
        "".join(_call(f"call_{at}", name, schema, strict=name in strict))
        for at, (name, schema) in enumerate(tools.items())
    )
    return f"call: {' | '.join(f'call_{at}' for at in range(len(tools)))}\n{calls}{_RULES}"


def _call(rule: str, name: str, schema: Schema, *, strict: bool) -> Iterator[str]:
    """The rule of a tool's call, and those of its parameters, by their places in each form of the schema."""
    forms = variants(schema, schema)
    names = [f"{rule}_{at}" for at in range(len(forms))]
    opening, closing = _text(f'<invoke name="{name}">\n'), _text("</invoke>\n")
    yield f"{rule}: {opening} ({' | '.join(f'{form} {closing}' for form in names)})\n"
    for form, found in zip(names, forms, strict=True):
        properties, required = found.get("properties"), found.get("required")
        if not isinstance(properties, Mapping):
            yield f"{form}: any*\n"
            continue
        needed = required if isinstance(required, Sequence) else ()
        parameters = [f"{form}_{at}{'' if key in needed else '?'}" for at, key in enumerate(properties)]
        yield f"{form}: {' '.join(parameters)}\n"
        for at, (key, part) in enumerate(properties.items()):
            yield from _parameter(f"{form}_{at}", key, part, schema, strict=strict)


def _parameter(rule: str, name: str, schema: object, root: Schema, *, strict: bool) -> Iterator[str]:
    """The rule of one parameter: its value in each form that it may have, with the tags around it."""
    opening = _text(f'<parameter name="{name}">')
    values: list[str] = []
    texts: list[str] = []
    for form in variants(schema, root):
        if (literals := _literals(form)) is not None:
            values += literals
            continue
        types = allowed_types(form, root)
        if is_text(types):
            limits = text_limits({**form, "type": "string"}) if types else []
            texts.append(_text_rule(f"{rule}_text{len(texts)}", limits) if limits else "")
            values.append(f"{rule}_text{len(texts) - 1}" if limits else "text")
        if others := sorted(types - {"string"}):
            own = {**form, "type": others if len(others) > 1 else others[0]}
            values.append(f"%json {json_grammar(own, root, strict=strict)} {_text(_CLOSING)}")
    yield f"{rule}: {opening} ({' | '.join(values)})\n"
    yield from texts


def _text_rule(name: str, limits: Sequence[str]) -> str:
    """Like `text`, with limits of length; an end tag that comes too early is part of no text."""
    return f'{name}[suffix="</parameter>\\n"]: {" & ".join((*limits, _NO_END_TAG))}\n'


def _literals(schema: Schema) -> list[str] | None:
    """The values that a schema lists, texts as they are and others as JSON; None where it lists none."""
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(listed, list) or not listed:
        return None
    texts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in listed]
    return [_text(text + _CLOSING) for text in texts]


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
