"""The body of a request to OpenAI's responses API, checked, and the chat request that it stands for."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue

from jangtq_coordinator.api.chat.chat_messages import (
    Arguments,
    CalledFunction,
    ChatMessage,
    Strict,
    Text,
    Unicode,
)
from jangtq_coordinator.api.chat.chat_schema import (
    ChatRequest,
    Choice,
    NamedSchema,
    ObjectFormat,
    ResponseFormat,
    SchemaFormat,
    TextFormat,
)
from jangtq_coordinator.api.chat.generation_fields import SpeculationWish, only
from jangtq_coordinator.api.chat.message_builder import MessageBuilder
from jangtq_coordinator.api.chat.tools import Function, Tool

_LOGPROBS = "message.output_text.logprobs"


class MessageItem(Strict):
    """Something said; also an answer's own item given back."""

    type: Literal["message"]
    role: Literal["user", "assistant", "system", "developer"]
    content: Text


class CallItem(Strict):
    """A call of an earlier answer."""

    type: Literal["function_call"]
    call_id: Unicode
    name: Unicode
    arguments: Arguments


class ResultItem(Strict):
    """What a call returned."""

    type: Literal["function_call_output"]
    call_id: Unicode
    output: Text


class ReasoningItem(Strict):
    """The reasoning of an earlier answer; a summary stands in where the text itself is missing."""

    type: Literal["reasoning"]
    content: Text | None = None
    summary: Text | None = None


def name_item(item: object) -> object:
    """Messages may leave out their type."""
    if isinstance(item, dict) and "type" not in item and "role" in item:
        return item | {"type": "message"}
    return item


InputItem = Annotated[
    Annotated[MessageItem | CallItem | ResultItem | ReasoningItem, Field(discriminator="type")],
    BeforeValidator(name_item),
]


def as_items(value: object) -> object:
    """A plain text is what the user says."""
    return [{"type": "message", "role": "user", "content": value}] if isinstance(value, str) else value


class FunctionTool(Function):
    """A function that the model may call."""

    type: Literal["function"]


class NamedSchemaFormat(NamedSchema):
    """JSON that follows a schema; its name stands beside."""

    type: Literal["json_schema"]


class TextOptions(Strict):
    """What form the answer's text must have."""

    format: Annotated[TextFormat | ObjectFormat | NamedSchemaFormat, Field(discriminator="type")] | None = (
        None
    )

    @property
    def response_format(self) -> ResponseFormat | None:
        if not isinstance(self.format, NamedSchemaFormat):
            return self.format
        return SchemaFormat(type="json_schema", json_schema=self.format)


class ReasoningOptions(Strict):
    """Effort "none" asks for an answer without reasoning; there are no other degrees."""

    effort: str | None = None


class ResponseRequest(Strict):
    """OpenAI's response request, with chat_template_kwargs as vLLM has them."""

    input: Annotated[
        list[InputItem],
        BeforeValidator(as_items, json_schema_input_type=str | list[InputItem]),
        Field(min_length=1),
    ]
    model: str | None = None
    instructions: Unicode | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    include: list[str] | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    metadata: dict[str, str] | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None
    speculation: SpeculationWish | None = None

    background: Annotated[JsonValue, only(False)] = None
    conversation: Annotated[JsonValue, only()] = None
    prompt: Annotated[JsonValue, only()] = None
    truncation: Annotated[JsonValue, only("disabled")] = None

    def messages(self) -> list[ChatMessage]:
        """What the input adds to the conversation."""
        conversation = MessageBuilder()
        for item in self.input:
            match item:
                case MessageItem():
                    conversation.say(item.role, item.content)
                case CallItem():
                    function = CalledFunction(name=item.name, arguments=item.arguments)
                    conversation.call(function, item.call_id)
                case ResultItem():
                    conversation.result(item.output, item.call_id)
                case ReasoningItem():
                    conversation.think(item.content or item.summary or "")
        return conversation.messages

    def chat(self, earlier: Sequence[ChatMessage]) -> ChatRequest:
        """The same as a chat request, after the messages of an earlier response."""
        start = MessageBuilder()
        if self.instructions is not None:
            start.say("system", self.instructions)
        variables = self.chat_template_kwargs or {}
        if self.reasoning is not None and self.reasoning.effort == "none":
            variables = {"enable_thinking": False} | variables
        return ChatRequest(
            model=self.model,
            messages=_one_system([*start.messages, *earlier, *self.messages()]),
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            logprobs=_LOGPROBS in (self.include or ()) or self.top_logprobs is not None,
            top_logprobs=self.top_logprobs,
            tools=[Tool(type="function", function=tool) for tool in self.tools or ()],
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
            response_format=self.text.response_format if self.text else None,
            chat_template_kwargs=variables,
            speculation=self.speculation,
        )


def _one_system(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The system messages at the beginning as one, which is all that templates take."""
    conversation = MessageBuilder()
    count = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    texts = [message.content or "" for message in messages[:count]]
    if texts:
        conversation.say("system", "\n\n".join(texts))
    return [*conversation.messages, *messages[count:]]
