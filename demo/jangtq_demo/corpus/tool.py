"""What a tool of the corpus is, and how a conversation offers it. Lists no tools."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from jangtq_demo.corpus.conversation import Arguments, Schema
from jangtq_demo.corpus.split import Phrases, Split
from jangtq_demo.corpus.vocabulary import invent_word

_MADE_UP_SHARE: Final = 0.12

Values = Mapping[str, str | int]


@dataclass(frozen=True)
class Parameter:
    """One argument of a tool under the names that schemas may give it; `key` is its name in our phrases."""

    key: str
    names: tuple[str, ...]
    type: str
    description: str


@dataclass(frozen=True)
class Tool:
    """A tool: `draw_values` draws arguments, `respond` what the tool returns, `report` is the last answer."""

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    questions: Phrases
    intention: str
    report: str
    draw_values: Callable[[random.Random, Split], Values]
    respond: Callable[[random.Random, Values], Values]


@dataclass(frozen=True)
class OfferedTool:
    """A tool as one conversation knows it: with one of its names, and one for each parameter."""

    tool: Tool
    name: str
    parameter_names: tuple[str, ...]
    schema: Schema

    def arguments(self, values: Values) -> Arguments:
        pairs = zip(self.parameter_names, self.tool.parameters, strict=True)
        return {name: values[parameter.key] for name, parameter in pairs}


def offer(tool: Tool, rng: random.Random, split: Split) -> OfferedTool:
    """Draw the names under which a conversation knows the tool; made-up endings teach to copy them."""
    names = [rng.choice(names) for names in (tool.names, *(p.names for p in tool.parameters))]
    if split is Split.TRAINING:
        names = [_extend(name, rng) for name in names]
    return _offer(tool, names[0], tuple(names[1:]), rng)


def _extend(name: str, rng: random.Random) -> str:
    return f"{name}_{invent_word(rng)}" if rng.random() < _MADE_UP_SHARE else name


def _offer(tool: Tool, name: str, parameter_names: tuple[str, ...], rng: random.Random) -> OfferedTool:
    properties: dict[str, object] = {}
    for parameter_name, parameter in zip(parameter_names, tool.parameters, strict=True):
        described = {"description": parameter.description} if rng.random() < 0.7 else {}
        properties[parameter_name] = {"type": parameter.type, **described}
    schema = {
        "name": name,
        "description": rng.choice(tool.descriptions),
        "parameters": {"type": "object", "properties": properties, "required": list(parameter_names)},
    }
    return OfferedTool(tool, name, parameter_names, schema)


def response_text(values: Values) -> str:
    return json.dumps(values, ensure_ascii=False)
