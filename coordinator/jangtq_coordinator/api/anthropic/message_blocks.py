"""The turns of Anthropic's messages and their blocks, checked, and what they add to a conversation."""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, JsonValue

from jangtq_coordinator.api.anthropic.system_text import join_system
from jangtq_coordinator.api.chat.carried_reasoning import unpack
from jangtq_coordinator.api.chat.chat_messages import Arguments, CalledFunction, ResultText, Strict, Unicode
from jangtq_coordinator.api.chat.content_parts import TEXT_ONLY, document_text, search_result_text
from jangtq_coordinator.api.chat.foreign_items import item_text
from jangtq_coordinator.api.chat.message_builder import MessageBuilder

_SERVER_BLOCKS: Final = ("server_tool_use", "mcp_tool_use", "mcp_tool_result")


class TextBlock(Strict):
    """Something said."""

    type: Literal["text"]
    text: Unicode


class ThinkingBlock(Strict):
    """Reasoning of an earlier answer, given back; where it was not shown, its signature has it."""

    type: Literal["thinking"]
    thinking: Unicode
    signature: str | None = None

    @property
    def text(self) -> str:
        return self.thinking or unpack(self.signature or "")


class RedactedThinkingBlock(Strict):
    """Reasoning of another model, which only that model can read."""

    type: Literal["redacted_thinking"]


class ToolUseBlock(Strict):
    """A call of an earlier answer."""

    type: Literal["tool_use"]
    id: Unicode
    name: Unicode
    input: Arguments = Field(default_factory=dict)


class ToolResultBlock(Strict):
    """What a call returned."""

    type: Literal["tool_result"]
    tool_use_id: Unicode
    content: ResultText | None = None


def as_blocks(content: object) -> object:
    """A plain text is one block, and a block that is made of texts is one, too."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [_as_text(block) for block in content] if isinstance(content, list) else content


def _as_text(block: object) -> object:
    """Documents and what a server's own tools did become text. Raises ValueError for media."""
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(block, dict) or not isinstance(kind, str):
        return block
    match kind:
        case "document":
            text = document_text(block)
        case "search_result":
            text = search_result_text(block)
        case "image" | "container_upload":
            raise ValueError(f"a content block of type {kind!r} is not supported: {TEXT_ONLY}")
        case _ if kind in _SERVER_BLOCKS or kind.endswith("_tool_result"):
            text = item_text(block)
        case _:
            return block
    return {"type": "text", "text": text}


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


class SystemTurn(Strict):
    """Instructions from here on, such as Claude Code's reminders."""

    role: Literal["system"]
    content: Annotated[Unicode, BeforeValidator(join_system, json_schema_input_type=JsonValue)]


def add_turn(conversation: MessageBuilder, turn: UserTurn | AssistantTurn | SystemTurn) -> None:
    """Add what a turn says."""
    match turn:
        case UserTurn():
            _add_user(conversation, turn)
        case AssistantTurn():
            _add_assistant(conversation, turn)
        case SystemTurn():
            conversation.say("system", turn.content)


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
                conversation.think(block.text)
            case ToolUseBlock():
                conversation.call(CalledFunction(name=block.name, arguments=block.input), block.id)
