"""POST /v1/completions: plain texts continued, streamed or whole."""

from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from jangtq_coordinator.api.chat.answer_blocks import AnswerBlocks
from jangtq_coordinator.api.chat.completion_schema import CompletionRequest
from jangtq_coordinator.api.chat.content_logprobs import Logged
from jangtq_coordinator.api.chat.generation import Generation, Generations, usage_so_far
from jangtq_coordinator.api.http.error_responses import Problem
from jangtq_coordinator.api.http.sse import Answering, Frame
from jangtq_coordinator.api.openai.logprobs import completion_logprobs
from jangtq_coordinator.api.openai.replies import UsageReply
from jangtq_coordinator.engine.events import Finished, PrefillProgress, TokenGenerated
from jangtq_coordinator.text.reasoning import Channel


def completions_router(turns: Generations, answering: Answering) -> APIRouter:
    """The completion route over one engine."""
    router = APIRouter()

    @router.post("/v1/completions", response_model=None)
    async def complete_texts(body: CompletionRequest, request: Request) -> Response:
        """Continue texts as they stand, without a chat template; markers in the answer are text too."""
        turn = await turns.begin_texts(body)
        writer = CompletionWriter(turn, body)
        return await answering.answer(turn.stream, writer, request, streaming=bool(body.stream))

    return router


class CompletionWriter:
    """A turn as OpenAI's text completion; the parts of a stream have the same form."""

    named = False
    closing = b"data: [DONE]\n\n"

    def __init__(self, turn: Generation, asked: CompletionRequest) -> None:
        self._turn = turn
        self._asked = asked
        self._choices = [AnswerBlocks({}, turn.token_bytes) for _ in range(len(turn.stream))]
        self._lengths = [0] * len(self._choices)
        self._head: Frame = {
            "id": f"cmpl-{turn.id}",
            "object": "text_completion",
            "created": turn.created,
            "model": turn.model,
            "system_fingerprint": turn.system_fingerprint,
        }

    def begin(self) -> Sequence[Frame]:
        return []

    def prefilled(self, progress: PrefillProgress) -> Sequence[Frame]:
        return ()

    def write(self, choice: int, event: TokenGenerated | Finished) -> Sequence[Frame]:
        blocks = self._choices[choice]
        blocks.add(event)
        text, logged = "".join(piece.text for piece in event.pieces), blocks.take_logprobs()
        offset, self._lengths[choice] = self._lengths[choice], self._lengths[choice] + len(text)
        end = event.reason if isinstance(event, Finished) else None
        return [self._body(choice, text, logged, offset=offset, end=end)] if text or logged or end else []

    def end(self) -> Sequence[Frame]:
        return [{**self._head, "choices": [], "usage": self._usage()}] if self._asked.include_usage else []

    def fail(self, problem: Problem) -> Frame:
        return problem.body()

    def whole(self) -> Frame:
        choices = [
            self._one(index, one.text(Channel.CONTENT), one.logprobs, end=one.end.reason if one.end else None)
            for index, one in enumerate(self._choices)
        ]
        return {**self._head, "choices": choices, "usage": self._usage()}

    def _body(
        self,
        choice: int,
        text: str,
        logged: Sequence[Logged] = (),
        *,
        offset: int = 0,
        end: str | None = None,
    ) -> Frame:
        frame = {**self._head, "choices": [self._one(choice, text, logged, offset=offset, end=end)]}
        return frame | ({"usage": self._usage()} if self._asked.usage_in_every_chunk else {})

    def _one(
        self, index: int, text: str, logged: Sequence[Logged], *, offset: int = 0, end: str | None
    ) -> Frame:
        reported = completion_logprobs(logged, self._turn.token_bytes, offset=offset) if logged else None
        return {"index": index, "text": text, "logprobs": reported, "finish_reason": end}

    def _usage(self) -> dict[str, object]:
        return UsageReply.of(usage_so_far(self._choices, self._turn)).model_dump()
