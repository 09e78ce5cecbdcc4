"""POST /v1/chat/completions, streamed or whole."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from jangtq_coordinator.api.chat.answer_blocks import AnswerBlock, AnswerBlocks, Change, Step
from jangtq_coordinator.api.chat.chat_schema import ChatRequest
from jangtq_coordinator.api.chat.content_logprobs import Logged
from jangtq_coordinator.api.chat.generation import Generation, Generations, usage_so_far
from jangtq_coordinator.api.http.error_responses import Problem
from jangtq_coordinator.api.http.sse import Answering, Frame
from jangtq_coordinator.api.openai.logprobs import token_logprobs
from jangtq_coordinator.api.openai.replies import (
    AssistantReply,
    ChatCompletion,
    Choice,
    FunctionReply,
    ToolCallReply,
    UsageReply,
)
from jangtq_coordinator.api.openai.text_packets import Packet, TextPackets
from jangtq_coordinator.engine.events import Finished, PrefillProgress, TokenGenerated
from jangtq_coordinator.text.reasoning import Channel


def chat_router(turns: Generations, answering: Answering) -> APIRouter:
    """The chat route over one engine."""
    router = APIRouter()

    @router.post("/v1/chat/completions", response_model=None, responses={200: {"model": ChatCompletion}})
    async def complete_chat(body: ChatRequest, request: Request) -> Response:
        """Continue a conversation by answers of the model."""
        turn = await turns.begin(body)
        writer = ChatWriter(turn, body)
        return await answering.answer(turn.stream, writer, request, streaming=bool(body.stream))

    return router


class ChatWriter:
    """A turn as OpenAI's chat completion, or as its chunks."""

    named = False
    closing = b"data: [DONE]\n\n"

    def __init__(self, turn: Generation, asked: ChatRequest) -> None:
        self._turn = turn
        self._asked = asked
        self._choices = [AnswerBlocks(turn.schemas, turn.token_bytes) for _ in range(len(turn.stream))]
        self._packets = [TextPackets() for _ in self._choices]
        self._head: Frame = {
            "id": f"chatcmpl-{turn.id}",
            "object": "chat.completion.chunk",
            "created": turn.created,
            "model": turn.model,
            "system_fingerprint": turn.system_fingerprint,
        }

    def begin(self) -> Sequence[Frame]:
        start = {"role": "assistant", "content": ""}
        return [self._chunk(choice, start) for choice in range(len(self._choices))]

    def prefilled(self, progress: PrefillProgress) -> Sequence[Frame]:
        return ()

    def write(self, choice: int, event: TokenGenerated | Finished) -> Sequence[Frame]:
        blocks, packets = self._choices[choice], self._packets[choice]
        frames: list[Frame] = []
        for change in blocks.add(event):
            if change.block.channel is not Channel.TOOL:
                frames += self._grow(choice, change)
            elif (delta := _call_delta(change, blocks)) is not None:
                frames += [*self._frames_of(choice, packets.flush()), self._chunk(choice, delta)]
        if isinstance(event, Finished):
            frames += self._frames_of(choice, packets.flush())
            frames.append(self._chunk(choice, {}, finish_reason=event.reason))
        return frames

    def end(self) -> Sequence[Frame]:
        usage = {**self._head, "choices": [], "usage": self._usage().model_dump()}
        return [usage] if self._asked.include_usage else []

    def fail(self, problem: Problem) -> Frame:
        return problem.body()

    def whole(self) -> Frame:
        turn = self._turn
        return ChatCompletion(
            id=f"chatcmpl-{turn.id}",
            created=turn.created,
            model=turn.model,
            system_fingerprint=turn.system_fingerprint,
            choices=[self._choice(index, one) for index, one in enumerate(self._choices)],
            usage=self._usage(),
        ).model_dump()

    def _grow(self, choice: int, change: Change) -> list[Frame]:
        """The packets that more text fills."""
        if change.step is not Step.DELTA:
            return []
        is_content = change.block.channel is Channel.CONTENT
        member = "content" if is_content else "reasoning_content"
        logprobs = self._choices[choice].take_logprobs() if is_content else []
        return self._frames_of(choice, self._packets[choice].add(member, change.text, logprobs))

    def _frames_of(self, choice: int, packets: Sequence[Packet]) -> list[Frame]:
        return [
            self._chunk(
                choice,
                {one.member: one.text},
                logprobs=self._logprobs(one.logprobs) if one.logprobs else None,
            )
            for one in packets
        ]

    def _choice(self, index: int, blocks: AnswerBlocks) -> Choice:
        content, calls = blocks.text(Channel.CONTENT), [call_reply(call) for call in blocks.calls]
        reasoning = blocks.text(Channel.REASONING) or None
        return Choice(
            index=index,
            message=AssistantReply(
                content=None if calls and not content else content,
                reasoning_content=reasoning,
                reasoning=reasoning,
                tool_calls=calls,
            ),
            finish_reason=blocks.end.reason if blocks.end else "stop",
            logprobs=None if self._asked.wanted_logprobs is None else self._logprobs(blocks.logprobs),
        )

    def _chunk(
        self,
        choice: int,
        delta: Frame,
        *,
        finish_reason: str | None = None,
        logprobs: Mapping[str, object] | None = None,
    ) -> Frame:
        one = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        frame = {**self._head, "choices": [one]}
        return frame | ({"usage": self._usage().model_dump()} if self._asked.usage_in_every_chunk else {})

    def _logprobs(self, logged: Sequence[Logged]) -> dict[str, object]:
        return {"content": token_logprobs(logged, self._turn.token_bytes), "refusal": None}

    def _usage(self) -> UsageReply:
        return UsageReply.of(usage_so_far(self._choices, self._turn))


def call_reply(block: AnswerBlock) -> ToolCallReply:
    """One whole call."""
    return ToolCallReply(id=f"call_{block.id}", function=FunctionReply(name=block.name, arguments=block.text))


def _call_delta(change: Change, blocks: AnswerBlocks) -> dict[str, object] | None:
    """What a chunk says of a call: first its name, then its arguments in parts."""
    block, index = change.block, blocks.calls.index(change.block)
    if change.step is Step.START:
        function = {"name": block.name, "arguments": ""}
        return _calls({"index": index, "id": f"call_{block.id}", "type": "function", "function": function})
    if change.step is Step.DELTA:
        return _calls({"index": index, "function": {"arguments": change.text}})
    return None


def _calls(call: dict[str, object]) -> dict[str, object]:
    return {"tool_calls": [call]}
