"""The body of a chat completion request, checked. What is not supported is refused, not ignored."""

from typing import Final, Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator

from jangtq_coordinator.api.messages import ChatMessage, Strict

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
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "top_logprobs": (0,),
}
"""Parameters that this server does not support, with the values that ask for nothing."""


class StreamOptions(Strict):
    """What a stream brings beside the answer."""

    include_usage: bool = False


class Function(Strict):
    """A function that the model may call; `parameters` is the JSON schema of its arguments."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_.:/-]{1,128}$")
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None


class Tool(Strict):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function


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
    tools: list[Tool] | None = None

    audio: JsonValue = None
    frequency_penalty: JsonValue = None
    function_call: JsonValue = None
    functions: JsonValue = None
    logit_bias: JsonValue = None
    logprobs: JsonValue = None
    modalities: JsonValue = None
    n: JsonValue = None
    parallel_tool_calls: JsonValue = None
    presence_penalty: JsonValue = None
    repetition_penalty: JsonValue = None
    response_format: JsonValue = None
    tool_choice: JsonValue = None
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
    def offered_tools(self) -> tuple[Tool, ...]:
        """The tools that the model is told of."""
        return () if self.tool_choice == "none" else tuple(self.tools or ())

    @property
    def token_limit(self) -> int | None:
        """`max_completion_tokens` is the newer name and wins."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage
