"""A turn as OpenAI's response: its items, and the events that bring them in order."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from jangtq_coordinator.api.chat.answer_blocks import AnswerBlock, AnswerBlocks, Change, Step
from jangtq_coordinator.api.chat.carried_reasoning import pack
from jangtq_coordinator.api.chat.content_logprobs import Logged
from jangtq_coordinator.api.chat.generation import Generation
from jangtq_coordinator.api.chat.tools import ToolChoice
from jangtq_coordinator.api.http.error_responses import Problem
from jangtq_coordinator.api.http.sse import Frame
from jangtq_coordinator.api.openai.logprobs import token_logprobs
from jangtq_coordinator.api.openai.response_events import Body, Event, ItemEvents
from jangtq_coordinator.api.openai.response_tools import own_name
from jangtq_coordinator.api.openai.responses_schema import ResponseRequest
from jangtq_coordinator.engine.events import Finished, PrefillProgress, TokenGenerated, Usage
from jangtq_coordinator.text.reasoning import Channel

_PREFIXES: Final = {Channel.REASONING: "rs", Channel.CONTENT: "msg", Channel.TOOL: "fc"}
_TEXTS: Final = {Channel.REASONING: "reasoning_text", Channel.CONTENT: "output_text"}
_PLAIN: Final = {"format": {"type": "text"}, "verbosity": "medium"}
_ECHOED: Final = {
    "instructions",
    "previous_response_id",
    "max_output_tokens",
    "max_tool_calls",
    "safety_identifier",
    "prompt_cache_key",
}


class ResponseWriter:
    """Calls `on_end` once the response is complete."""

    named = True
    closing = b""

    def __init__(
        self, turn: Generation, asked: ResponseRequest, *, on_end: Callable[["ResponseWriter"], None]
    ) -> None:
        self._turn = turn
        self._asked = asked
        self._on_end = on_end
        self._numbers = itertools.count()
        self._logged: dict[int, list[Logged]] = {}
        self._completed_at: int | None = None
        self._answer = AnswerBlocks(turn.schemas, turn.token_bytes)

    def begin(self) -> Sequence[Frame]:
        begun = self.whole()
        return [self._event(f"response.{step}", {"response": begun}) for step in ("created", "in_progress")]

    def prefilled(self, progress: PrefillProgress) -> Sequence[Frame]:
        return ()

    def write(self, choice: int, event: TokenGenerated | Finished) -> Sequence[Frame]:
        changes = self._answer.add(event)
        if isinstance(event, Finished):
            self._completed_at = int(time.time())
        return [self._event(*event) for change in changes for event in self._events(change)]

    def end(self) -> Sequence[Frame]:
        self._on_end(self)
        return [self._event(f"response.{self._status}", {"response": self.whole()})]

    def fail(self, problem: Problem) -> Frame:
        error = {"code": problem.code or problem.type, "message": problem.message}
        response = self.whole() | {"status": "failed", "error": error}
        return self._event("response.failed", {"response": response})

    def whole(self) -> Body:
        end, sampling = self._answer.end, self._turn.sampling
        return {
            "id": f"resp_{self._turn.id}",
            "object": "response",
            "created_at": self._turn.created,
            "completed_at": self._completed_at,
            "status": self._status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if self._status == "incomplete" else None,
            "model": self._turn.model,
            "output": [self._item(block) for block in self._answer.blocks],
            "usage": _usage(end.usage) if end else None,
            "background": False,
            "service_tier": "default",
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "top_logprobs": sampling.top_logprobs or 0,
            **_echo(self._asked),
        }

    @property
    def _status(self) -> str:
        end = self._answer.end
        return "in_progress" if end is None else "incomplete" if end.reason == "length" else "completed"

    def _events(self, change: Change) -> Iterator[Event]:
        events = ItemEvents(_id(change.block), change.block.index)
        if change.block.channel is Channel.TOOL:
            return self._call_events(change, events)
        return self._text_events(change, events)

    def _text_events(self, change: Change, events: ItemEvents) -> Iterator[Event]:
        block = change.block
        match change.step:
            case Step.START:
                yield events.start(self._item(block))
                yield events.start_part(self._part(block))
            case Step.DELTA:
                reported = self._take_logprobs(block)
                yield events.grow_part({"type": _TEXTS[block.channel]}, {"delta": change.text} | reported)
            case Step.STOP:
                yield from events.end_part(self._part(block))
                yield events.end(self._item(block))

    def _call_events(self, change: Change, events: ItemEvents) -> Iterator[Event]:
        match change.step:
            case Step.START:
                yield events.start(self._item(change.block))
            case Step.DELTA:
                yield events.grow_call(change.text)
            case Step.STOP:
                item = self._item(change.block)
                yield events.end_call(item)
                yield events.end(item)

    def _item(self, block: AnswerBlock) -> Body:
        item: Body = {"id": _id(block), "status": "completed" if block.whole else "incomplete"}
        match block.channel:
            case Channel.TOOL:
                call = {"call_id": f"call_{block.id}", **own_name(block.name, self._asked.tools or ())}
                return item | {"type": "function_call"} | call | {"arguments": block.text}
            case Channel.REASONING:
                packed = {"encrypted_content": pack(block.text)} if self._asked.packs_reasoning else {}
                return item | {"type": "reasoning", "summary": [], "content": [self._part(block)]} | packed
            case Channel.CONTENT:
                return item | {"type": "message", "role": "assistant", "content": [self._part(block)]}

    def _part(self, block: AnswerBlock) -> Body:
        part: Body = {"type": _TEXTS[block.channel], "text": block.text}
        if block.channel is not Channel.CONTENT:
            return part
        logged = token_logprobs(self._logged.get(block.index, ()), self._turn.token_bytes)
        return part | {"annotations": [], "logprobs": logged}

    def _take_logprobs(self, block: AnswerBlock) -> Body:
        """Those that a delta of the content brings; reasoning has none."""
        if block.channel is not Channel.CONTENT:
            return {}
        new = self._answer.take_logprobs()
        self._logged.setdefault(block.index, []).extend(new)
        return {"logprobs": token_logprobs(new, self._turn.token_bytes)}

    def _event(self, kind: str, members: Mapping[str, object]) -> Frame:
        return {"type": kind, "sequence_number": next(self._numbers), **members}


def _id(block: AnswerBlock) -> str:
    return f"{_PREFIXES[block.channel]}_{block.id}"


def _usage(usage: Usage) -> Body:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _echo(asked: ResponseRequest) -> Body:
    """What was asked for, as a response repeats it."""
    form = asked.text.model_dump(by_alias=True) if asked.text and asked.text.format else {}
    return asked.model_dump(include=_ECHOED) | {
        "tools": [tool.echo() for tool in asked.tools or ()],
        "tool_choice": _choice(asked.tool_choice or ToolChoice()),
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "text": _PLAIN | form,
        "reasoning": {"effort": asked.reasoning and asked.reasoning.effort, "summary": None},
        "store": asked.store is not False,
        "truncation": asked.truncation or "disabled",
        "metadata": asked.metadata or {},
    }


def _choice(choice: ToolChoice) -> object:
    if choice.names is None:
        return choice.mode
    tools = [{"type": "function", "name": name} for name in choice.names]
    if choice.mode == "required" and len(tools) == 1:
        return tools[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": tools}
