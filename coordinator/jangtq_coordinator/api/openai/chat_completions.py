"""POST /v1/chat/completions, streamed or whole."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from jangtq_coordinator.api.chat.answer_blocks import AnswerBlock, AnswerBlocks, Change, Step, total_usage
from jangtq_coordinator.api.chat.chat_schema import ChatRequest
from jangtq_coordinator.api.chat.generation import Generation, Generations
from jangtq_coordinator.api.http.error_responses import Problem
from jangtq_coordinator.api.http.sse import Answering, Frame
from jangtq_coordinator.api.openai.logprobs import Logged, token_logprobs
from jangtq_coordinator.api.openai.replies import (
    AssistantReply,
    ChatCompletion,
    Choice,
    FunctionReply,
    ToolCallReply,
    UsageReply,
)
from jangtq_coordinator.engine.events import Finished, TokenGenerated
from jangtq_coordinator.text.reasoning import Channel


def chat_router(turns: Generations, answering: Answering) -> APIRouter:
    """The chat route over one engine."""
    router = APIRouter()

    @router.post("/v1/chat/completions", response_model=None, responses={200: {"model": ChatCompletion}})
    async def complete_chat(body: ChatRequest, request: Request) -> Response:
        """Continue a conversation by answers of the model."""
        turn = await turns.begin(body)
        writer = ChatWriter(turn, include_usage=body.include_usage)
        return await answering.answer(turn.stream, writer, request, streaming=bool(body.stream))

    return router


class ChatWriter:
    """A turn as OpenAI's chat completion, or as its chunks."""

    named = False
    closing = b"data: [DONE]\n\n"

    def __init__(self, turn: Generation, *, include_usage: bool) -> None:
        self._turn = turn
        self._include_usage = include_usage
        self._choices = [AnswerBlocks(turn.schemas) for _ in range(len(turn.stream))]
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

    def write(self, choice: int, event: TokenGenerated | Finished) -> Sequence[Frame]:
        transcript = self._choices[choice]
        deltas = [delta for change in transcript.add(event) if (delta := _delta(change, transcript))]
        if isinstance(event, Finished):
            end = self._chunk(choice, {}, finish_reason=event.reason)
            return [*(self._chunk(choice, delta) for delta in deltas), end]
        if event.logprobs is None:
            return [self._chunk(choice, delta) for delta in deltas]
        first, *others = deltas or [{"content": ""}]
        logged = self._logprobs([(event.token, event.logprobs)])
        return [
            self._chunk(choice, first, logprobs=logged),
            *(self._chunk(choice, delta) for delta in others),
        ]

    def end(self) -> Sequence[Frame]:
        usage = {**self._head, "choices": [], "usage": self._usage().model_dump()}
        return [usage] if self._include_usage else []

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

    def _choice(self, index: int, transcript: AnswerBlocks) -> Choice:
        content, calls = transcript.text(Channel.CONTENT), [call_reply(call) for call in transcript.calls]
        return Choice(
            index=index,
            message=AssistantReply(
                content=None if calls and not content else content,
                reasoning_content=transcript.text(Channel.REASONING) or None,
                tool_calls=calls or None,
            ),
            finish_reason=transcript.end.reason if transcript.end else "stop",
            logprobs=self._logprobs(transcript.logprobs) if transcript.logprobs else None,
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
        return {**self._head, "choices": [one]}

    def _logprobs(self, logged: Sequence[Logged]) -> dict[str, object]:
        return {"content": token_logprobs(logged, self._turn.token_bytes), "refusal": None}

    def _usage(self) -> UsageReply:
        return UsageReply.of(total_usage(self._choices, per_prompt=self._turn.choices_per_prompt))


def call_reply(block: AnswerBlock) -> ToolCallReply:
    """One whole call."""
    return ToolCallReply(id=f"call_{block.id}", function=FunctionReply(name=block.name, arguments=block.text))


def _delta(change: Change, transcript: AnswerBlocks) -> dict[str, object] | None:
    """What a chunk says of a change: of a call first its name, then its arguments in parts."""
    block = change.block
    if block.channel is Channel.TOOL:
        index = transcript.calls.index(block)
        if change.step is Step.START:
            function = {"name": block.name, "arguments": ""}
            return _calls(
                {"index": index, "id": f"call_{block.id}", "type": "function", "function": function}
            )
        if change.step is Step.DELTA:
            return _calls({"index": index, "function": {"arguments": change.text}})
    elif change.step is Step.DELTA:
        return {"reasoning_content" if block.channel is Channel.REASONING else "content": change.text}
    return None


def _calls(call: dict[str, object]) -> dict[str, object]:
    return {"tool_calls": [call]}
