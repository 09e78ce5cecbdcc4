"""What form a request demands of its answer's text, in the spellings of vLLM, SGLang and llama-server.

OpenAI's own `response_format` is one more of them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from llguidance.gbnf_to_lark import any_to_lark

from jangtq_coordinator.text.tool_arguments import Schema

ANY_OBJECT: Final[Schema] = {"type": "object"}
_BREAKS: Final = r"/\n{0,2}/"
_START: Final = re.compile(r"^(\s*)start(\s*:)", re.MULTILINE)


@dataclass(frozen=True)
class JsonForm:
    """JSON that follows a schema; `param` is the field that asks for it."""

    schema: Schema
    param: str


@dataclass(frozen=True)
class GrammarForm:
    """Text of a grammar in llguidance's Lark form, whose first rule is `start`."""

    lark: str
    param: str

    def grammar(self, *, after_reasoning: bool) -> str:
        """After reasoning the line breaks may stand before it that belong to the end of that."""
        if not after_reasoning:
            return self.lark
        return f"start: {_BREAKS} answer_start\n" + _START.sub(r"\1answer_start\2", self.lark)


AnswerForm = JsonForm | GrammarForm


class FormFields(Protocol):
    """The fields that demand a form; at most one of them may be given."""

    @property
    def structured_outputs(self) -> Mapping[str, object] | None: ...
    @property
    def guided_json(self) -> object: ...
    @property
    def guided_regex(self) -> str | None: ...
    @property
    def guided_choice(self) -> Sequence[str] | None: ...
    @property
    def guided_grammar(self) -> str | None: ...
    @property
    def json_schema(self) -> object: ...
    @property
    def regex(self) -> str | None: ...
    @property
    def grammar(self) -> str | None: ...
    @property
    def ebnf(self) -> str | None: ...


def forms_of(body: FormFields) -> list[AnswerForm]:
    """All that a request demands. Raises ValueError for what has the wrong type or cannot be obeyed."""
    given: list[tuple[str, str, object]] = [
        ("json", "guided_json", body.guided_json),
        ("regex", "guided_regex", body.guided_regex),
        ("choice", "guided_choice", body.guided_choice),
        ("grammar", "guided_grammar", body.guided_grammar),
        ("json", "json_schema", body.json_schema),
        ("regex", "regex", body.regex),
        ("grammar", "grammar", body.grammar),
        ("grammar", "ebnf", body.ebnf),
    ]
    given += [(kind, f"structured_outputs.{kind}", v) for kind, v in (body.structured_outputs or {}).items()]
    return [_form(kind, param, value) for kind, param, value in given if value not in (None, False, "")]


def _form(kind: str, param: str, value: object) -> AnswerForm:
    match kind:
        case "json":
            return JsonForm(_schema(value, param), param)
        case "json_object":
            return JsonForm(ANY_OBJECT, param)
        case "regex" if isinstance(value, str):
            return GrammarForm(f"start: /{_escape_slashes(value)}/\n", param)
        case "choice" if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            return GrammarForm(f"start: {' | '.join(map(json.dumps, value))}\n", param)
        case "grammar" if isinstance(value, str):
            return GrammarForm(_lark(value, param), param)
    known = "json, json_object, regex, choice (a list of texts) and grammar (Lark or GBNF)"
    raise ValueError(f"{param}: cannot be obeyed; this server knows {known}")


def _schema(value: object, param: str) -> Schema:
    """A schema, or the JSON text of one."""
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, dict):
        raise ValueError(f"{param}: must be a JSON schema, an object")
    return value


def _lark(grammar: str, param: str) -> str:
    """A grammar in Lark's form or in GBNF."""
    try:
        return any_to_lark(grammar)
    except Exception as error:  # The library raises nothing more special.
        raise ValueError(f"{param}: cannot be read as Lark or GBNF: {error}") from error


def _escape_slashes(pattern: str) -> str:
    """A pattern as Lark writes it, between slashes."""
    return re.sub(r"\\.|/", lambda found: r"\/" if found[0] == "/" else found[0], pattern, flags=re.DOTALL)
