"""The body of a chat completion request, checked. What is not supported is refused, not ignored."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from jangtq_coordinator.api.chat.answer_form import ANY_OBJECT, AnswerForm, JsonForm
from jangtq_coordinator.api.chat.chat_messages import AssistantMessage, ChatMessage, Strict
from jangtq_coordinator.api.chat.generation_fields import GenerationFields, only
from jangtq_coordinator.api.chat.tools import Tool, ToolChoice, parse_choice
from jangtq_coordinator.text.tool_arguments import Schema


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


class ReasoningWish(Strict):
    """OpenRouter's wish for reasoning; degrees of effort change nothing here."""

    effort: str | None = None
    enabled: bool | None = None


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
    reasoning_effort: str | None = None
    reasoning: ReasoningWish | None = None
    enable_thinking: bool | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    drops_oldest: bool = Field(default=False, exclude=True)
    """Whether the oldest turns may be left out where the conversation is too long."""

    add_special_tokens: Annotated[JsonValue, only(False)] = None
    chat_template: Annotated[JsonValue, only()] = None
    documents: Annotated[JsonValue, only([])] = None
    echo: Annotated[JsonValue, only(False)] = None
    audio: Annotated[JsonValue, only()] = None
    function_call: Annotated[JsonValue, only("none")] = None
    functions: Annotated[JsonValue, only([])] = None
    modalities: Annotated[JsonValue, only(["text"])] = None

    @property
    def choice(self) -> ToolChoice:
        return self.tool_choice or ToolChoice()

    @property
    def offered_tools(self) -> tuple[Tool, ...]:
        """The tools in the prompt."""
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
    def answer_forms(self) -> list[AnswerForm]:
        match self.response_format:
            case ObjectFormat():
                own = [JsonForm(ANY_OBJECT, "response_format")]
            case SchemaFormat(json_schema=named):
                schema = ANY_OBJECT if named.schema_ is None else named.schema_
                own = [JsonForm(schema, "response_format")]
            case _:
                own = []
        return [*own, *super().answer_forms]

    @property
    def reasons(self) -> bool:
        """Whether the answer may begin by reasoning; the template's own variable is for it to obey."""
        switched_off = (
            self.enable_thinking is False or (self.chat_template_kwargs or {}).get("enable_thinking") is False
        )
        effort = self.reasoning_effort or (self.reasoning and self.reasoning.effort)
        return not (switched_off or effort == "none" or (self.reasoning and self.reasoning.enabled is False))

    @property
    def continues(self) -> bool:
        """Whether the answer goes on where the last message, an assistant's, ends."""
        last = self.messages[-1]
        if not isinstance(last, AssistantMessage) or last.tool_calls:
            return False
        return self.continue_final_message is not False and self.add_generation_prompt is not True

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        """Raise ValueError for fields that make no sense together."""
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: only allowed with logprobs: true")
        if self.continue_final_message and self.add_generation_prompt:
            raise ValueError("continue_final_message: not together with add_generation_prompt: true")
        if self.continue_final_message and not self.continues:
            raise ValueError(
                "continue_final_message: the last message must be an assistant's, without tool calls"
            )
        if self.add_generation_prompt is False and not self.continues:
            raise ValueError(
                "add_generation_prompt: false is for a last message of the assistant that is continued"
            )
        return self
