"""The demo's questions to a running cluster: an explanation, a sum, and a tool that is really called."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jangtq_coordinator.cli.chat_stream import ChunkTool, chat_chunks
from jangtq_coordinator.cli.terminal import AnswerPrinter, FoldingPrinter, Printer, dim

PROMPTS: Final = ("Explain photosynthesis in five sentences.", "What is 4821 + 3579?")
TOOL_PROMPT: Final = "Use the calculator: 4821 * 3579."
CALCULATOR: Final = {
    "name": "calculate",
    "description": "Calculate an expression.",
    "parameters": {
        "type": "object",
        "properties": {"expression": {"type": "string", "description": "Expression such as 12 * 7"}},
        "required": ["expression"],
    },
}
_EXPRESSION: Final = re.compile(r"\s*(\d{1,18})\s*([-+*])\s*(\d{1,18})\s*")

Message = Mapping[str, object]


@dataclass(frozen=True)
class DemoTurn:
    """One streamed turn of the assistant, and what it took."""

    reasoning: str
    content: str
    calls: tuple[ChunkTool, ...]
    completion_tokens: int
    first_token_seconds: float
    seconds_after_first: float

    @property
    def message(self) -> Message:
        """As a client sends it back."""
        calls = [{"type": "function", **call.model_dump(exclude={"index"})} for call in self.calls]
        return {
            "role": "assistant",
            "reasoning_content": self.reasoning,
            "content": self.content,
            "tool_calls": calls,
        }


class DemoScript:
    """Prints questions and their answers as they come. Raises CoordinatorAnswerError for an error answer."""

    def __init__(self, base_url: str, *, max_tokens: int) -> None:
        self._base_url = base_url
        self._max_tokens = max_tokens

    def show_all(self) -> list[DemoTurn]:
        """Every question, the reasoning folded away."""
        turns = []
        for prompt in PROMPTS:
            _print_prompt(prompt)
            turns.append(self._ask([_user(prompt)]))
        return turns + self._show_tool()

    def show_one(self, prompt: str) -> list[DemoTurn]:
        """One question with its reasoning."""
        _print_prompt(prompt)
        return [self._ask([_user(prompt)], printer=AnswerPrinter())]

    def _show_tool(self) -> list[DemoTurn]:
        """The question for the calculator, what was called and came back, and the answer with it."""
        _print_prompt(TOOL_PROMPT)
        messages = [_user(TOOL_PROMPT)]
        first = self._ask(messages, tools=(CALCULATOR,))
        if not first.calls:
            return [first]
        messages.append(first.message)
        for call in first.calls:
            result = json.dumps(run_calculator(call.function.arguments))
            print(f"  {call.function.name}({call.function.arguments}) -> {result}")
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        return [first, self._ask(messages, tools=(CALCULATOR,))]

    def _ask(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, object]] = (),
        printer: Printer | None = None,
    ) -> DemoTurn:
        shown = printer or FoldingPrinter()
        started = time.perf_counter()
        first: float | None = None
        tokens, reasoning, content = 0, "", ""
        calls: dict[int, ChunkTool] = {}
        options: dict[str, object] = {"max_tokens": self._max_tokens}
        if tools:
            options["tools"] = [{"type": "function", "function": tool} for tool in tools]
        for chunk in chat_chunks(self._base_url, messages, options):
            for delta in (choice.delta for choice in chunk.choices):
                if first is None and (delta.reasoning_content or delta.content or delta.tool_calls):
                    first = time.perf_counter()
                shown.reasoning(delta.reasoning_content)
                shown.content(delta.content)
                reasoning += delta.reasoning_content
                content += delta.content
                for piece in delta.tool_calls:
                    known = calls.get(piece.index)
                    calls[piece.index] = known.joined(piece) if known else piece
            tokens = chunk.usage.completion_tokens if chunk.usage else tokens
        ended = time.perf_counter()
        if isinstance(shown, FoldingPrinter):
            shown.fold()
        if content:
            print(flush=True)
        first = first or ended
        return DemoTurn(reasoning, content, tuple(calls.values()), tokens, first - started, ended - first)


def run_calculator(arguments: str) -> Mapping[str, object]:
    """The result of `a + b`, `a - b` or `a * b` in the arguments' JSON, or what is wrong with them."""
    try:
        expression = str(json.loads(arguments)["expression"])
    except (ValueError, KeyError, TypeError):
        return {"error": f"wanted is an expression, not {arguments}"}
    found = _EXPRESSION.fullmatch(expression)
    if found is None:
        return {"error": f"wanted is something such as 12 * 7, not {expression}"}
    a, sign, b = int(found[1]), found[2], int(found[3])
    return {"result": a + b if sign == "+" else a - b if sign == "-" else a * b}


def _user(prompt: str) -> Message:
    return {"role": "user", "content": prompt}


def _print_prompt(prompt: str) -> None:
    print(f"\n{dim('>>')} {prompt}", flush=True)
