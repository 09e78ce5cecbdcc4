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
    def rounds(self) -> tuple[tuple[Message, ...], ...]:
        """The messages from each user turn to the next."""
        starts = [i for i, message in enumerate(self.messages) if message.role == "user"]
        return tuple(
            self.messages[start:end]
            for start, end in zip(starts, [*starts[1:], len(self.messages)], strict=True)
        )

    @property
    def last_user(self) -> int:
        """The index of the last user turn; the assistant's turns after it are trained."""
        return max(i for i, message in enumerate(self.messages) if message.role == "user")


@dataclass(frozen=True)
class Segment:
    """A stretch of text that the model either reads or learns to write.

    Text of branch 0 is what every later turn reads. A branch above 0 is one round as the model writes it, with its
    reasoning; nothing but the branch itself reads it.
    """

    text: str
    trained: bool
    branch: int = 0


def render(conversation: Conversation) -> list[Segment]:
    """Segments whose joined text is what the chat template gives for the whole conversation."""
    segments = [Segment(render_system(conversation), trained=False)]
    last_user = conversation.last_user
    for index, message in enumerate(conversation.messages):
        if index < last_user:
            segments.append(Segment(_past_turn(message), trained=False))
        else:
            segments += _current_turn(message, thinking=conversation.thinking)
    return segments


def render_branches(conversation: Conversation) -> list[Segment]:
    """Every round as the model is asked for it, after all rounds before it as the template repeats them.

    Branch 0 and branch n, up to where n ends, read as `render` of the first n rounds.
    """
    segments = [Segment(render_system(conversation), trained=False)]
    for number, (question, *turns) in enumerate(conversation.rounds, 1):
        segments.append(Segment(_past_turn(question), trained=False))
        for turn in turns:
            for segment in _current_turn(turn, thinking=conversation.thinking):
                segments.append(replace(segment, branch=number))
        segments += [Segment(_past_turn(turn), trained=False) for turn in turns]
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


def _past_turn(message: Message) -> str:
    """A turn as later rounds read it: without reasoning."""
    if message.role == "user":
        return f"]~b]user\n{message.content}[e~[\n"
    if message.role == "tool":
        return f"]~b]tool\n<response>{message.content}</response>[e~[\n"
    return f"]~b]ai\n{_answer(message)}[e~[\n"


def _current_turn(message: Message, *, thinking: bool) -> list[Segment]:
    """A turn of the last round; what an assistant shows that should have thought and did not is context."""
    if message.role != "assistant" or (thinking and not message.reasoning):
        return [Segment(_past_turn(message), trained=False)]
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
