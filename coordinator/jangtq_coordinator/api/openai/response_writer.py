"""A turn as OpenAI's response: its items, and the events that bring them in order."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from jangtq_coordinator.api.chat.answer_blocks import AnswerBlock, AnswerBlocks, Change, Step
from jangtq_coordinator.api.chat.generation import Generation
from jangtq_coordinator.api.chat.tools import ToolChoice
from jangtq_coordinator.api.http.error_responses import Problem
from jangtq_coordinator.api.http.sse import Frame
from jangtq_coordinator.api.openai.logprobs import token_logprobs
from jangtq_coordinator.api.openai.responses_schema import ResponseRequest
from jangtq_coordinator.engine.events import Finished, TokenGenerated, Usage
from jangtq_coordinator.text.reasoning import Channel

_PREFIXES: Final = {Channel.REASONING: "rs", Channel.CONTENT: "msg", Channel.TOOL: "fc"}
_TEXTS: Final = {Channel.REASONING: "reasoning_text", Channel.CONTENT: "output_text"}
_ADDED: Final = "response.output_item.added"
_DONE: Final = "response.output_item.done"
_PLAIN: Final = {"format": {"type": "text"}}
_ECHOED: Final = {
    "instructions",
    "previous_response_id",
    "max_output_tokens",
    "temperature",
    "top_p",
    "top_logprobs",
}
Body = dict[str, object]


class ResponseWriter:
    """`on_end` is told once the response is complete."""

    named = True
    closing = b""

    def __init__(
        self, turn: Generation, asked: ResponseRequest, *, on_end: Callable[["ResponseWriter"], None]
    ) -> None:
        self._turn = turn
        self._asked = asked
        self._on_end = on_end
        self._numbers = itertools.count()
        self._untold = 0
        self.transcript = AnswerBlocks(turn.schemas)

    def begin(self) -> Sequence[Frame]:
        return [
            self._event(f"response.{step}", {"response": self.whole()}) for step in ("created", "in_progress")
        ]

    def write(self, choice: int, event: TokenGenerated | Finished) -> Sequence[Frame]:
        return [frame for change in self.transcript.add(event) for frame in self._frames(change)]

    def end(self) -> Sequence[Frame]:
        self._on_end(self)
        return [self._event(f"response.{self._status}", {"response": self.whole()})]

    def fail(self, problem: Problem) -> Frame:
        error = {"code": problem.code or problem.type, "message": problem.message}
        response = self.whole() | {"status": "failed", "error": error}
        return self._event("response.failed", {"response": response})

    def whole(self) -> Body:
        asked, end = self._asked, self.transcript.end
        return {
            "id": f"resp_{self._turn.id}",
            "object": "response",
            "created_at": self._turn.created,
            "status": self._status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if self._status == "incomplete" else None,
            "model": self._turn.model,
            "output": [self._item(block) for block in self.transcript.blocks],
            "usage": _usage(end.usage) if end else None,
            "background": False,
            "truncation": "disabled",
            **_echo(asked),
        }

    @property
    def _status(self) -> str:
        end = self.transcript.end
        return "in_progress" if end is None else "incomplete" if end.reason == "length" else "completed"

    def _frames(self, change: Change) -> Iterator[Frame]:
        if change.block.channel is Channel.TOOL:
            return self._call_frames(change)
        return self._text_frames(change)

    def _text_frames(self, change: Change) -> Iterator[Frame]:
        block, kind = change.block, _TEXTS[change.block.channel]
        place = {"output_index": block.index}
        part = {"item_id": _id(block), **place, "content_index": 0}
        match change.step:
            case Step.START:
                yield self._event(_ADDED, place | {"item": self._item(block, open=True)})
                yield self._event("response.content_part.added", part | {"part": self._part(block)})
            case Step.DELTA:
                untold, self._untold = self._untold, len(self.transcript.logprobs)
                told = self._logprobs(block, untold)
                yield self._event(f"response.{kind}.delta", part | {"delta": change.text} | told)
            case Step.STOP:
                text = {"text": block.text} | self._logprobs(block)
                yield self._event(f"response.{kind}.done", part | text)
                yield self._event("response.content_part.done", part | {"part": self._part(block)})
                yield self._event(_DONE, place | {"item": self._item(block)})

    def _call_frames(self, change: Change) -> Iterator[Frame]:
        block, kind = change.block, "response.function_call_arguments"
        place = {"output_index": block.index}
        item = {"item_id": _id(block), **place}
        match change.step:
            case Step.START:
                yield self._event(_ADDED, place | {"item": self._item(block, open=True)})
            case Step.DELTA:
                yield self._event(f"{kind}.delta", item | {"delta": change.text})
            case Step.STOP:
                yield self._event(f"{kind}.done", item | {"name": block.name, "arguments": block.text})
                yield self._event(_DONE, place | {"item": self._item(block)})

    def _item(self, block: AnswerBlock, *, open: bool = False) -> Body:
        status = "in_progress" if open else "completed" if block.whole else "incomplete"
        item: Body = {"id": _id(block), "status": status}
        match block.channel:
            case Channel.TOOL:
                call = {"call_id": f"call_{block.id}", "name": block.name, "arguments": block.text}
                return item | {"type": "function_call"} | call
            case Channel.REASONING:
                return item | {
                    "type": "reasoning",
                    "summary": [],
                    "content": [self._part(block)] * (not open),
                }
            case Channel.CONTENT:
                content = [self._part(block)] * (not open)
                return item | {"type": "message", "role": "assistant", "content": content}

    def _part(self, block: AnswerBlock) -> Body:
        part: Body = {"type": _TEXTS[block.channel], "text": block.text}
        return part | (
            {"annotations": []} | self._logprobs(block) if block.channel is Channel.CONTENT else {}
        )

    def _logprobs(self, block: AnswerBlock, start: int = 0) -> Body:
        """Those from one token of the content on; reasoning has none."""
        if block.channel is not Channel.CONTENT:
            return {}
        return {"logprobs": token_logprobs(self.transcript.logprobs[start:], self._turn.token_bytes)}

    def _event(self, kind: str, members: Mapping[str, object]) -> Frame:
        return {"type": kind, "sequence_number": next(self._numbers), **members}


def _id(block: AnswerBlock) -> str:
    return f"{_PREFIXES[block.channel]}_{block.id}"


def _usage(usage: Usage) -> Body:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _echo(asked: ResponseRequest) -> Body:
    """What was asked for, as a response repeats it."""
    choice = asked.tool_choice or ToolChoice()
    named = {"type": "function", "name": choice.name}
    text = asked.text.model_dump(by_alias=True) if asked.text and asked.text.format else _PLAIN
    return asked.model_dump(include=_ECHOED) | {
        "tools": [tool.model_dump() for tool in asked.tools or ()],
        "tool_choice": named if choice.name else choice.mode,
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "text": text,
        "reasoning": {"effort": asked.reasoning and asked.reasoning.effort, "summary": None},
        "store": asked.store is not False,
        "metadata": asked.metadata or {},
    }
