"""The body of a chat completion request, checked. What is not supported is refused, not ignored."""

from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
)

_MAX_STOPS = 16

NEUTRAL: Final[dict[str, tuple[JsonValue, ...]]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
}
"""Parameters that this server does not support, with the values that ask for nothing."""


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
    if kind not in (None, "text"):
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


class AssistantMessage(Strict):
    """An earlier answer, with its reasoning where the client kept it, under either of the two usual names."""

    role: Literal["assistant"]
    content: Text | None = None
    reasoning_content: Unicode | None = None
    reasoning: Unicode | None = None
    tool_calls: JsonValue = None

    @field_validator("tool_calls")
    @classmethod
    def refuse_tool_calls(cls, value: JsonValue) -> JsonValue:
        if value:
            raise ValueError("tool calls are not supported by this server")
        return value


ChatMessage = Annotated[SystemMessage | UserMessage | AssistantMessage, Field(discriminator="role")]


class StreamOptions(Strict):
    """What a stream brings beside the answer."""

    include_usage: bool = False


class ChatRequest(Strict):
    """OpenAI's chat completion request, with top_k and chat_template_kwargs as vLLM has them."""

    messages: list[ChatMessage] = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None

    audio: JsonValue = None
    frequency_penalty: JsonValue = None
    function_call: JsonValue = None
    functions: JsonValue = None
    logit_bias: JsonValue = None
    logprobs: JsonValue = None
    modalities: JsonValue = None
    n: JsonValue = None
    presence_penalty: JsonValue = None
    repetition_penalty: JsonValue = None
    response_format: JsonValue = None
    tool_choice: JsonValue = None
    tools: JsonValue = None
    top_logprobs: JsonValue = None

    @field_validator("stop")
    @classmethod
    def check_stop(cls, stop: str | list[str] | None) -> str | list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > _MAX_STOPS:
            raise ValueError(f"{len(stops)} stop strings given: allowed are at most {_MAX_STOPS}")
        if not all(stops):
            raise ValueError("an empty stop string would end every answer at once")
        return stop

    @field_validator(*NEUTRAL)
    @classmethod
    def refuse_unsupported(cls, value: JsonValue, info: ValidationInfo) -> JsonValue:
        allowed = NEUTRAL[info.field_name or ""]
        if value is not None and value not in allowed:
            names = " or ".join(repr(neutral) for neutral in allowed)
            raise ValueError(f"{value!r} is not supported by this server{f', only {names}' * bool(names)}")
        return value

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def token_limit(self) -> int | None:
        """`max_completion_tokens` is the newer name and wins."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage
