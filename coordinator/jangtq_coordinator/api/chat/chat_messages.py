"""The messages of a conversation as clients send them, checked. Knows no other field of a request."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from jangtq_coordinator.text.tool_arguments import parse_json

# OpenAI's responses tell apart who wrote a text.
_TEXT_KINDS: Final = ("text", "input_text", "output_text", "reasoning_text", "summary_text")


class Strict(BaseModel):
    """No value is bent to fit; fields without a meaning here are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class TextPart(Strict):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


def join_text(content: object) -> object:
    """The text of a list of text parts; other values as they are."""
    if not isinstance(content, list):
        return content
    return "".join(_text_of(part) for part in content)


def _text_of(part: object) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in (None, *_TEXT_KINDS):
        raise ValueError(f"a content part of type {kind!r} is not supported: this model reads text only")
    text = part.get("text") if isinstance(part, dict) else None
    if kind is None or not isinstance(text, str):
        raise ValueError('a content part must be an object like {"type": "text", "text": "..."}')
    return text


def check_unicode(text: str) -> str:
    """JSON can escape half of a surrogate pair, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"not valid Unicode: a lone surrogate at character {error.start}") from None
    return text


Unicode = Annotated[str, AfterValidator(check_unicode)]
Text = Annotated[Unicode, BeforeValidator(join_text, json_schema_input_type=str | list[TextPart])]


class SystemMessage(Strict):
    """Instructions; `developer` is OpenAI's newer name of the role."""

    role: Literal["system", "developer"]
    content: Text


class UserMessage(Strict):
    """What the user said."""

    role: Literal["user"]
    content: Text


def parse_arguments(arguments: object) -> object:
    """The object that a call's arguments are the JSON text of; other values as they are."""
    if not isinstance(arguments, str):
        return arguments
    value = parse_json(arguments) if arguments.strip() else {}
    if not isinstance(value, dict):
        raise ValueError(f"the arguments of a tool call must be a JSON object, not {arguments!r}")
    return value


Arguments = Annotated[
    dict[str, JsonValue],
    BeforeValidator(parse_arguments, json_schema_input_type=str | dict[str, JsonValue]),
]


class CalledFunction(Strict):
    """What was called; clients send the arguments as JSON text, some as an object."""

    name: Unicode
    arguments: Arguments


class ToolCall(Strict):
    """A call of an earlier answer."""

    id: Unicode | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(Strict):
    """An earlier answer, with its reasoning where the client kept it, under either of the two usual names."""

    role: Literal["assistant"]
    content: Text | None = None
    reasoning_content: Unicode | None = None
    reasoning: Unicode | None = None
    tool_calls: list[ToolCall] | None = None


class ToolMessage(Strict):
    """What a call returned."""

    role: Literal["tool"]
    content: Text
    tool_call_id: Unicode | None = None


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]
