"""Conversations in the MiniMax turn format, as text with the trained parts marked. Knows no tokens.

The rendering equals the chat template of `jangtq_bundle`; a test compares the two.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

DEFAULT_SYSTEM: Final = "You are a helpful assistant."

Arguments = Mapping[str, str | int]
Schema = Mapping[str, object]


@dataclass(frozen=True)
class ToolCall:
    """One invocation of a tool."""

    name: str
    arguments: Arguments


@dataclass(frozen=True)
class Message:
    """One turn. `reasoning` and `calls` belong to the assistant.

    An assistant that thinks but shows no reasoning is context, as from a client that does not send it back.
    """

    role: Literal["user", "assistant", "tool"]
    content: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """Turns under a system message, with the schemas of the tools that may be called.

    Without `thinking` the assistant answers at once, as clients ask for with `enable_thinking`.
    """

    messages: tuple[Message, ...]
    tools: tuple[Schema, ...] = ()
    system: str = DEFAULT_SYSTEM
    thinking: bool = True

    @property
    def without_reasoning_of_calls(self) -> "Conversation":
        """As a client sends it back that keeps what was said and called, but not what was thought."""
        messages = (replace(message, reasoning="") if message.calls else message for message in self.messages)
        return replace(self, messages=tuple(messages))

    def after(self, history: Sequence[Message]) -> "Conversation":
        return replace(self, messages=(*history, *self.messages))

    @property
    def last_user(self) -> int:
        """The index of the last user turn; the assistant's turns after it are trained."""
        return max(i for i, message in enumerate(self.messages) if message.role == "user")


@dataclass(frozen=True)
class Segment:
    """A stretch of text that the model either reads or learns to write."""

    text: str
    trained: bool


def render(conversation: Conversation) -> list[Segment]:
    """Segments whose joined text is what the chat template gives for the whole conversation."""
    segments = [Segment(render_system(conversation), trained=False)]
    last_user = conversation.last_user
    for index, message in enumerate(conversation.messages):
        if message.role != "assistant":
            segments.append(Segment(_given_turn(message), trained=False))
        elif index < last_user or (conversation.thinking and not message.reasoning):
            segments.append(Segment(f"]~b]ai\n{_answer(message)}[e~[\n", trained=False))
        else:
            segments += _learnt_turn(message, thinking=conversation.thinking)
    return segments


def render_system(conversation: Conversation) -> str:
    """The first turn, with the tools where there are any."""
    text = conversation.system
    if conversation.tools:
        listed = "".join(
            f"<tool>{json.dumps(tool, ensure_ascii=False)}</tool>\n" for tool in conversation.tools
        )
        text += (
            "\n\n# Tools\nYou may call one or more tools to assist with the user query.\n"
            f"Here are the tools available in JSONSchema format:\n\n<tools>\n{listed}</tools>\n\n"
            "When making tool calls, use XML format to invoke tools and pass parameters:\n\n"
            '<minimax:tool_call>\n<invoke name="tool-name-1">\n'
            '<parameter name="param-key-1">param-value-1</parameter>\n'
            '<parameter name="param-key-2">param-value-2</parameter>\n...\n</invoke>\n</minimax:tool_call>'
        )
    return f"]~!b[]~b]system\n{text}[e~[\n"


def _given_turn(message: Message) -> str:
    if message.role == "user":
        return f"]~b]user\n{message.content}[e~[\n"
    return f"]~b]tool\n<response>{message.content}</response>[e~[\n"


def _learnt_turn(message: Message, *, thinking: bool) -> list[Segment]:
    thought = f"{message.reasoning}\n</think>\n\n" if thinking else ""
    return [
        Segment("]~b]ai\n" + "<think>\n" * thinking, trained=False),
        Segment(f"{thought}{_answer(message)}[e~[", trained=True),
        Segment("\n", trained=False),
    ]


def _answer(message: Message) -> str:
    if not message.calls:
        return message.content
    calls = "".join(_call(call) for call in message.calls)
    return f"{message.content}\n<minimax:tool_call>\n{calls}</minimax:tool_call>"


def _call(call: ToolCall) -> str:
    parameters = "".join(
        f'<parameter name="{name}">{value}</parameter>\n' for name, value in call.arguments.items()
    )
    return f'<invoke name="{call.name}">\n{parameters}</invoke>\n'
