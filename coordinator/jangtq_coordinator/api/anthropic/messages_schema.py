"""The body of a request to Anthropic's messages API, checked, and the chat request that it stands for."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from jangtq_coordinator.api.chat.chat_messages import CalledFunction, ChatMessage, Strict, Text, Unicode
from jangtq_coordinator.api.chat.chat_schema import ChatRequest, NamedSchema, SchemaFormat
from jangtq_coordinator.api.chat.generation_fields import SpeculationWish, check_stop
from jangtq_coordinator.api.chat.message_builder import MessageBuilder
from jangtq_coordinator.api.chat.tools import NAME_PATTERN, Function, Tool, ToolChoice


class TextBlock(Strict):
    """Something said."""

    type: Literal["text"]
    text: Unicode


class ThinkingBlock(Strict):
    """Reasoning of an earlier answer, given back; its signature is not needed here."""

    type: Literal["thinking"]
    thinking: Unicode


class RedactedThinkingBlock(Strict):
    """Reasoning of another model, which nobody here can read."""

    type: Literal["redacted_thinking"]


class ToolUseBlock(Strict):
    """A call of an earlier answer."""

    type: Literal["tool_use"]
    id: Unicode
    name: Unicode
    input: dict[str, JsonValue]


class ToolResultBlock(Strict):
    """What a call returned."""

    type: Literal["tool_result"]
    tool_use_id: Unicode
    content: Text | None = None


def as_blocks(content: object) -> object:
    """A plain text is one block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


UserBlock = Annotated[TextBlock | ToolResultBlock, Field(discriminator="type")]
AssistantBlock = Annotated[
    TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock, Field(discriminator="type")
]


class UserTurn(Strict):
    """What the user said, and what calls returned."""

    role: Literal["user"]
    content: Annotated[
        list[UserBlock], BeforeValidator(as_blocks, json_schema_input_type=str | list[UserBlock])
    ]


class AssistantTurn(Strict):
    """An earlier answer."""

    role: Literal["assistant"]
    content: Annotated[
        list[AssistantBlock], BeforeValidator(as_blocks, json_schema_input_type=str | list[AssistantBlock])
    ]


class CustomTool(Strict):
    """A function that the model may call; tools that a server would run are refused."""

    type: Literal["custom"] | None = None
    name: str = Field(pattern=NAME_PATTERN)
    description: Unicode | None = None
    input_schema: dict[str, JsonValue]
    strict: bool | None = None


class Choosing(Strict):
    """Whether tools may or must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Strict):
    """Whether to think first. How long is the model's own decision."""

    type: Literal["enabled", "adaptive", "disabled"]


class JsonFormat(NamedSchema):
    """JSON that follows a schema."""

    type: Literal["json_schema"]


class OutputOptions(Strict):
    """What form the answer's text must have."""

    format: JsonFormat | None = None


class PromptRequest(Strict):
    """What makes up a prompt, and all that is needed to count its tokens."""

    messages: list[Annotated[UserTurn | AssistantTurn, Field(discriminator="role")]] = Field(min_length=1)
    model: str | None = None
    system: Text | None = None
    tools: list[CustomTool] | None = None
    tool_choice: Choosing | None = None
    thinking: Thinking | None = None
    output_config: OutputOptions | None = None

    def chat(self) -> ChatRequest:
        """The same as a chat request. As with Anthropic, only who asks for thinking gets it."""
        thinks = self.thinking is not None and self.thinking.type != "disabled"
        choice = self.tool_choice or Choosing(type="auto")
        form = self.output_config and self.output_config.format
        return ChatRequest(
            model=self.model,
            messages=self._messages(),
            tools=[_tool(tool) for tool in self.tools or ()],
            tool_choice=_choice(choice),
            parallel_tool_calls=not choice.disable_parallel_tool_use,
            response_format=SchemaFormat(type="json_schema", json_schema=form) if form else None,
            chat_template_kwargs=None if thinks else {"enable_thinking": False},
        )

    def _messages(self) -> list[ChatMessage]:
        conversation = MessageBuilder()
        if self.system:
            conversation.say("system", self.system)
        for turn in self.messages:
            if isinstance(turn, UserTurn):
                _add_user(conversation, turn)
            else:
                _add_assistant(conversation, turn)
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


def _add_user(conversation: MessageBuilder, turn: UserTurn) -> None:
    """Results first, which is where templates want them; the texts beside them are one message."""
    texts = [block.text for block in turn.content if isinstance(block, TextBlock)]
    for block in turn.content:
        if isinstance(block, ToolResultBlock):
            conversation.result(block.content or "", block.tool_use_id)
    if texts:
        conversation.say("user", "".join(texts))


def _add_assistant(conversation: MessageBuilder, turn: AssistantTurn) -> None:
    conversation.say("assistant", "")
    for block in turn.content:
        match block:
            case TextBlock():
                conversation.say("assistant", block.text)
            case ThinkingBlock():
                conversation.think(block.thinking)
            case ToolUseBlock():
                conversation.call(CalledFunction(name=block.name, arguments=block.input), block.id)


def _tool(tool: CustomTool) -> Tool:
    members = tool.model_dump(include={"name", "description", "strict"}, exclude_none=True)
    return Tool(type="function", function=Function(parameters=tool.input_schema, **members))


def _choice(choice: Choosing) -> ToolChoice:
    match choice.type:
        case "tool":
            return ToolChoice(mode="required", name=choice.name or "")
        case "any":
            return ToolChoice(mode="required")
        case other:
            return ToolChoice(mode=other)
