"""What the model wrote, taken apart: reasoning, content and tool calls. Judges nothing."""

import re
from dataclasses import dataclass
from typing import Final

from jangtq_demo.corpus.conversation import ToolCall

_END_OF_REASONING: Final = "</think>"
_CALLS: Final = re.compile(r"<minimax:tool_call>(.*?)</minimax:tool_call>", re.DOTALL)
_INVOCATION: Final = re.compile(r'<invoke name="([^"]*)">(.*?)</invoke>', re.DOTALL)
_PARAMETER: Final = re.compile(r'<parameter name="([^"]*)">(.*?)</parameter>', re.DOTALL)


@dataclass(frozen=True)
class AnswerText:
    """One turn of the assistant."""

    reasoning: str
    content: str
    calls: tuple[ToolCall, ...]


def parse_answer(text: str, *, thinking: bool = True) -> AnswerText:
    """Parse what follows `<think>`, or a turn without; reasoning that never ends has no content."""
    reasoning, found, rest = text.partition(_END_OF_REASONING) if thinking else ("", "", text)
    if thinking and not found:
        return AnswerText(text.strip(), "", ())
    invocations = [match for block in _CALLS.findall(rest) for match in _INVOCATION.findall(block)]
    calls = tuple(ToolCall(name, dict(_PARAMETER.findall(body))) for name, body in invocations)
    return AnswerText(reasoning.strip(), _CALLS.sub("", rest).strip(), calls)
