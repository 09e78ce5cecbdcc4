"""The body of a chat completion request, checked. What is not supported is refused, not ignored."""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, JsonValue

from jangtq_coordinator.api.chat.chat_messages import ChatMessage, Strict
from jangtq_coordinator.api.chat.generation_fields import GenerationFields, only
from jangtq_coordinator.api.chat.tools import Tool, ToolChoice, parse_choice
from jangtq_coordinator.text.tool_arguments import Schema

_ANY_OBJECT: Final[Schema] = {"type": "object"}


class TextFormat(Strict):
    """No demand on the answer."""

    type: Literal["text"]


class ObjectFormat(Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(Strict):
    """A JSON schema; without one, any object."""

    name: str | None = None
    schema_: dict[str, JsonValue] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class SchemaFormat(Strict):
    """JSON that follows a schema, to the letter whether `strict` or not."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")]
Choice = Annotated[
    ToolChoice,
    BeforeValidator(
        parse_choice, json_schema_input_type=Literal["none", "auto", "required"] | dict[str, JsonValue]
    ),
]


class ChatRequest(GenerationFields):
    """OpenAI's chat completion request, with chat_template_kwargs as vLLM has them."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    chat_template_kwargs: dict[str, JsonValue] | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)

    audio: Annotated[JsonValue, only()] = None
    function_call: Annotated[JsonValue, only("none")] = None
    functions: Annotated[JsonValue, only([])] = None
    modalities: Annotated[JsonValue, only(["text"])] = None

    @property
    def choice(self) -> ToolChoice:
        return self.tool_choice or ToolChoice()

    @property
    def offered_tools(self) -> tuple[Tool, ...]:
        """The tools that the model is told of."""
        return () if self.choice.mode == "none" else tuple(self.tools or ())

    @property
    def schemas(self) -> dict[str, Schema]:
        """The schema of each offered function's arguments."""
        return {tool.function.name: tool.function.parameters or {} for tool in self.offered_tools}

    @property
    def token_limit(self) -> int | None:
        """`max_completion_tokens` is the newer name and wins."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def wanted_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def answer_schema(self) -> Schema | None:
        """What the answer's text must follow."""
        match self.response_format:
            case ObjectFormat():
                return _ANY_OBJECT
            case SchemaFormat(json_schema=named):
                return _ANY_OBJECT if named.schema_ is None else named.schema_
            case _:
                return None
