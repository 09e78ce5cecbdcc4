"""The body of a request to Anthropic's messages API, checked, and the chat request that it stands for."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from jangtq_coordinator.api.anthropic.message_blocks import AssistantTurn, SystemTurn, UserTurn, add_turn
from jangtq_coordinator.api.anthropic.system_text import join_system
from jangtq_coordinator.api.chat.chat_messages import ChatMessage, Strict, Unicode
from jangtq_coordinator.api.chat.chat_schema import ChatRequest, NamedSchema, SchemaFormat
from jangtq_coordinator.api.chat.foreign_items import keep_functions
from jangtq_coordinator.api.chat.generation_fields import SpeculationWish, check_stop, only
from jangtq_coordinator.api.chat.message_builder import MessageBuilder
from jangtq_coordinator.api.chat.tools import NAME_PATTERN, Function, Tool, ToolChoice


class CustomTool(Strict):
    """A function that the model may call."""

    type: Literal["custom"] | None = None
    name: str = Field(pattern=NAME_PATTERN)
    description: Unicode | None = None
    input_schema: dict[str, JsonValue]
    strict: bool | None = None


def keep_custom(tools: object) -> object:
    """Without the tools that Anthropic runs or knows the schema of."""
    return keep_functions(tools, _is_custom)


def _is_custom(tool: Mapping[str, object]) -> bool:
    return tool.get("type") in (None, "custom")


class Choosing(Strict):
    """Whether tools may or must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Strict):
    """Whether to think first. How long is the model's own decision."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]
    display: Literal["summarized", "omitted"] | None = None


class JsonFormat(NamedSchema):
    """JSON that follows a schema."""

    type: Literal["json_schema"]


class OutputOptions(Strict):
    """What form the answer's text must have."""

    format: JsonFormat | None = None


class PromptRequest(Strict):
    """What makes up a prompt, and all that is needed to count its tokens."""

    messages: list[Annotated[UserTurn | AssistantTurn | SystemTurn, Field(discriminator="role")]] = Field(
        min_length=1
    )
    model: str | None = None
    system: Annotated[Unicode, BeforeValidator(join_system, json_schema_input_type=JsonValue)] | None = None
    tools: Annotated[list[CustomTool], BeforeValidator(keep_custom)] | None = None
    tool_choice: Choosing | None = None
    thinking: Thinking | None = None
    output_config: OutputOptions | None = None
    output_format: JsonFormat | None = None

    container: Annotated[JsonValue, only()] = None
    mcp_servers: Annotated[JsonValue, only([])] = None

    @property
    def thinks(self) -> bool:
        """As with Anthropic, thinking is sent only on request."""
        return self.thinking is not None and self.thinking.type != "disabled"

    def chat(self) -> ChatRequest:
        """The same as a chat request."""
        choice = self.tool_choice or Choosing(type="auto")
        form = (self.output_config and self.output_config.format) or self.output_format
        return ChatRequest(
            model=self.model,
            messages=self._messages(),
            tools=[_tool(tool) for tool in self.tools or ()],
            tool_choice=_choice(choice),
            parallel_tool_calls=not choice.disable_parallel_tool_use,
            response_format=SchemaFormat(type="json_schema", json_schema=form) if form else None,
            enable_thinking=self.thinks,
        )

    def _messages(self) -> list[ChatMessage]:
        conversation = MessageBuilder()
        if self.system:
            conversation.say("system", self.system)
        for turn in self.messages:
            add_turn(conversation, turn)
        return conversation.messages


class MessageRequest(PromptRequest):
    """Anthropic's message request."""

    max_tokens: int = Field(ge=1)
    stop_sequences: Annotated[list[str], AfterValidator(check_stop)] | None = None
    stream: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=1)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    speculation: SpeculationWish | None = None

    def chat(self) -> ChatRequest:
        return (
            super()
            .chat()
            .model_copy(
                update={
                    "max_tokens": self.max_tokens,
                    "stop": self.stop_sequences,
                    "temperature": self.temperature,
                    "top_p": self.top_p,
                    "top_k": self.top_k,
                    "speculation": self.speculation,
                }
            )
        )


def _tool(tool: CustomTool) -> Tool:
    members = tool.model_dump(include={"name", "description", "strict"}, exclude_none=True)
    return Tool(type="function", function=Function(parameters=tool.input_schema, **members))


def _choice(choice: Choosing) -> ToolChoice:
    match choice.type:
        case "tool":
            return ToolChoice(mode="required", names=(choice.name or "",))
        case "any":
            return ToolChoice(mode="required")
        case other:
            return ToolChoice(mode=other)
