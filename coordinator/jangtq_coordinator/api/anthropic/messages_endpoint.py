"""POST /v1/messages and /v1/messages/count_tokens, for Anthropic's clients."""

from collections.abc import Iterator, Sequence
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from jangtq_coordinator.api.anthropic.messages_schema import MessageRequest, PromptRequest
from jangtq_coordinator.api.chat.answer_blocks import AnswerBlock, AnswerBlocks, Change, Step
from jangtq_coordinator.api.chat.carried_reasoning import digest, pack
from jangtq_coordinator.api.chat.generation import Generation, Generations
from jangtq_coordinator.api.http.error_responses import Problem
from jangtq_coordinator.api.http.sse import Answering, Frame
from jangtq_coordinator.engine.events import Finished, PrefillProgress, TokenGenerated
from jangtq_coordinator.text.reasoning import Channel
from jangtq_coordinator.text.tool_arguments import parse_json

_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
Body = dict[str, object]


def anthropic_router(turns: Generations, answering: Answering) -> APIRouter:
    """The routes of Anthropic's messages API over one engine."""
    router = APIRouter()

    @router.post("/v1/messages", response_model=None)
    async def create_message(body: MessageRequest, request: Request) -> Response:
        """Continue a conversation by one message of the model."""
        turn = await turns.begin(body.chat())
        return await answering.answer(
            turn.stream, MessageWriter(turn, body), request, streaming=bool(body.stream)
        )

    @router.post("/v1/messages/count_tokens", response_model=None)
    async def count_tokens(body: PromptRequest) -> Response:
        """How many tokens the prompt of such a request has."""
        return JSONResponse({"input_tokens": await turns.count(body.chat())})

    return router


class MessageWriter:
    """A turn as Anthropic's message, or as its events. Thinking is left out unless it was requested."""

    named = True
    closing = b""

    def __init__(self, turn: Generation, asked: MessageRequest) -> None:
        self._turn = turn
        self._thinks = asked.thinks
        self._omits = bool(asked.thinking and asked.thinking.display == "omitted")
        self._answer = AnswerBlocks(turn.schemas, turn.token_bytes)
        self._shown: list[AnswerBlock] = []
        self._cached: int | None = None

    def begin(self) -> Sequence[Frame]:
        """Nothing yet: the first event has the number of cached prompt tokens."""
        return ()

    def prefilled(self, progress: PrefillProgress) -> Sequence[Frame]:
        return self._start(progress.cached)

    def write(self, choice: int, event: TokenGenerated | Finished) -> Sequence[Frame]:
        return [*self._start(0), *(f for change in self._answer.add(event) for f in self._frames(change))]

    def end(self) -> Sequence[Frame]:
        return [
            {"type": "message_delta", "delta": self._stop(), "usage": self._usage()},
            {"type": "message_stop"},
        ]

    def fail(self, problem: Problem) -> Frame:
        return problem.anthropic_body()

    def whole(self) -> Body:
        return {
            "id": f"msg_{self._turn.id}",
            "type": "message",
            "role": "assistant",
            "model": self._turn.model,
            "content": [self._block(block) for block in self._answer.blocks if self._shows(block)],
            "usage": self._usage(),
            **self._stop(),
        }

    def _start(self, cached: int) -> Sequence[Frame]:
        """The first event, once."""
        if self._cached is not None:
            return ()
        self._cached = cached
        return [{"type": "message_start", "message": self.whole()}]

    def _stop(self) -> Body:
        end = self._answer.end
        reason = "stop_sequence" if end and end.stop else _REASONS[end.reason] if end else None
        return {"stop_reason": reason, "stop_sequence": end.stop if end else None}

    def _usage(self) -> dict[str, int]:
        """Tokens so far; those of the prompt that were known already stand apart."""
        usage = self._answer.end.usage if self._answer.end else None
        cached = self._cached if self._cached is not None else usage.cached_tokens if usage else 0
        return {
            "input_tokens": self._turn.prompt_tokens - cached,
            "output_tokens": usage.completion_tokens if usage else 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
        }

    def _shows(self, block: AnswerBlock) -> bool:
        return self._thinks or block.channel is not Channel.REASONING

    def _block(self, block: AnswerBlock) -> Body:
        match block.channel:
            case Channel.REASONING:
                thinking = "" if self._omits else block.text
                return {"type": "thinking", "thinking": thinking, "signature": self._signature(block)}
            case Channel.CONTENT:
                return {"type": "text", "text": block.text}
            case Channel.TOOL:
                # What is left of a call that was cut off is no input.
                return _tool_use(block) | {"input": parse_json(block.text) if block.whole else {}}

    def _frames(self, change: Change) -> Iterator[Frame]:
        block = change.block
        if not self._shows(block):
            return
        if change.step is Step.START:
            self._shown.append(block)
        place = {"index": len(self._shown) - 1}
        match change.step:
            case Step.START:
                yield {"type": "content_block_start", **place, "content_block": _empty(block)}
            case Step.DELTA:
                if block.channel is not Channel.REASONING or not self._omits:
                    yield {
                        "type": "content_block_delta",
                        **place,
                        "delta": _delta(block.channel, change.text),
                    }
            case Step.STOP:
                if block.channel is Channel.REASONING:
                    signed = {"type": "signature_delta", "signature": self._signature(block)}
                    yield {"type": "content_block_delta", **place, "delta": signed}
                yield {"type": "content_block_stop", **place}

    def _signature(self, block: AnswerBlock) -> str:
        return pack(block.text) if self._omits else digest(block.text)


def _tool_use(block: AnswerBlock) -> Body:
    return {"type": "tool_use", "id": f"toolu_{block.id}", "name": block.name, "input": {}}


def _empty(block: AnswerBlock) -> Body:
    match block.channel:
        case Channel.REASONING:
            return {"type": "thinking", "thinking": "", "signature": ""}
        case Channel.CONTENT:
            return {"type": "text", "text": ""}
        case Channel.TOOL:
            return _tool_use(block)


def _delta(channel: Channel, text: str) -> Body:
    match channel:
        case Channel.REASONING:
            return {"type": "thinking_delta", "thinking": text}
        case Channel.CONTENT:
            return {"type": "text_delta", "text": text}
        case Channel.TOOL:
            return {"type": "input_json_delta", "partial_json": text}
