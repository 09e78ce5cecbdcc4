"""The body of a request to OpenAI's responses API, checked, and the chat request that it stands for."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue

from jangtq_coordinator.api.chat.chat_messages import Strict, Unicode
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
from jangtq_coordinator.api.openai.response_items import InputItem, Item, ReferenceItem, as_items
from jangtq_coordinator.api.openai.response_tools import FunctionTools

_LOGPROBS = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"


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
    tools: FunctionTools | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    metadata: dict[str, str] | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None
    speculation: SpeculationWish | None = None
    truncation: Literal["auto", "disabled"] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    max_tool_calls: int | None = None

    background: Annotated[JsonValue, only(False)] = None
    conversation: Annotated[JsonValue, only()] = None
    prompt: Annotated[JsonValue, only()] = None

    @property
    def packs_reasoning(self) -> bool:
        """Whether the client keeps the reasoning itself, unread, instead of the server."""
        return _ENCRYPTED in (self.include or ())

    def referring(self, look_up: Callable[[str], Item]) -> "ResponseRequest":
        """The same with each item in place of its reference. Raises what `look_up` raises."""
        items = [look_up(item.id) if isinstance(item, ReferenceItem) else item for item in self.input]
        return self.model_copy(update={"input": items})

    def chat(self, earlier: Sequence[Item]) -> ChatRequest:
        """The same as a chat request, after the items of earlier responses."""
        conversation = MessageBuilder()
        if self.instructions is not None:
            conversation.say("system", self.instructions)
        for item in (*earlier, *self.input):
            item.add_to(conversation)
        return ChatRequest(
            model=self.model,
            messages=conversation.messages,
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            logprobs=_LOGPROBS in (self.include or ()) or self.top_logprobs is not None,
            top_logprobs=self.top_logprobs,
            tools=[tool.offered() for tool in self.tools or ()],
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
            response_format=self.text.response_format if self.text else None,
            reasoning_effort=self.reasoning.effort if self.reasoning else None,
            chat_template_kwargs=self.chat_template_kwargs,
            # An answer that stands at the end is an earlier response's: this one is the next.
            continue_final_message=False,
            drops_oldest=self.truncation == "auto",
            speculation=self.speculation,
        )
