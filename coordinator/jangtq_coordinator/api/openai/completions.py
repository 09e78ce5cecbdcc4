"""POST /v1/completions: plain texts continued, streamed or whole."""

from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from jangtq_coordinator.api.chat.answer_blocks import AnswerBlocks, total_usage
from jangtq_coordinator.api.chat.completion_schema import CompletionRequest
from jangtq_coordinator.api.chat.generation import Generation, Generations
from jangtq_coordinator.api.http.error_responses import Problem
from jangtq_coordinator.api.http.sse import Answering, Frame
from jangtq_coordinator.api.openai.logprobs import Logged, completion_logprobs
from jangtq_coordinator.api.openai.replies import UsageReply
from jangtq_coordinator.engine.events import Finished, TokenGenerated
from jangtq_coordinator.text.reasoning import Channel


def completions_router(turns: Generations, answering: Answering) -> APIRouter:
    """The completion route over one engine."""
    router = APIRouter()

    @router.post("/v1/completions", response_model=None)
    async def complete_texts(body: CompletionRequest, request: Request) -> Response:
        """Continue texts as they stand, without a chat template; markers in the answer are text too."""
        turn = await turns.begin_texts(body)
        writer = CompletionWriter(turn, include_usage=body.include_usage)
        return await answering.answer(turn.stream, writer, request, streaming=bool(body.stream))

    return router


class CompletionWriter:
    """A turn as OpenAI's text completion; the parts of a stream have the same form."""

    named = False
    closing = b"data: [DONE]\n\n"

    def __init__(self, turn: Generation, *, include_usage: bool) -> None:
        self._turn = turn
        self._include_usage = include_usage
        self._choices = [AnswerBlocks({}) for _ in range(len(turn.stream))]
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

    def write(self, choice: int, event: TokenGenerated | Finished) -> Sequence[Frame]:
        transcript = self._choices[choice]
        transcript.add(event)
        text = "".join(piece.text for piece in event.pieces)
        offset, self._lengths[choice] = self._lengths[choice], self._lengths[choice] + len(text)
        if isinstance(event, Finished):
            return [self._body(choice, text, end=event.reason)]
        logged = [] if event.logprobs is None else [(event.token, event.logprobs)]
        return [self._body(choice, text, logged, offset=offset)] if text or logged else []

    def end(self) -> Sequence[Frame]:
        return [{**self._head, "choices": [], "usage": self._usage()}] if self._include_usage else []

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
        return {**self._head, "choices": [self._one(choice, text, logged, offset=offset, end=end)]}

    def _one(
        self, index: int, text: str, logged: Sequence[Logged], *, offset: int = 0, end: str | None
    ) -> Frame:
        told = completion_logprobs(logged, self._turn.token_bytes, offset=offset) if logged else None
        return {"index": index, "text": text, "logprobs": told, "finish_reason": end}

    def _usage(self) -> dict[str, object]:
        return UsageReply.of(
            total_usage(self._choices, per_prompt=self._turn.choices_per_prompt)
        ).model_dump()
