"""Turns the tokens of one answer into events. Knows no model and no batch."""

from collections.abc import Iterable

from jangtq_coordinator.engine.events import Finished, FinishReason, GenerationEvent, TokenGenerated, Usage
from jangtq_coordinator.sampling.sampler import TokenLogprobs
from jangtq_coordinator.text.answer_text import AnswerText
from jangtq_coordinator.text.reasoning import Channel, Piece
from jangtq_coordinator.text.tool_calls import CallStep


class RequestOutput:
    """One answer, from its first token to its end."""

    def __init__(self, text: AnswerText, *, prompt_tokens: int) -> None:
        self._text = text
        self._prompt_tokens = prompt_tokens
        self.cached_tokens = 0
        self._completion_tokens = 0
        self._reasoning_tokens = 0
        self._called = False

    @property
    def usage(self) -> Usage:
        return Usage(self._prompt_tokens, self._completion_tokens, self._reasoning_tokens, self.cached_tokens)

    @property
    def has_begun(self) -> bool:
        """Whether the answer has a token."""
        return self._completion_tokens > 0

    def add(
        self, token: int, finish_reason: FinishReason | None, logprobs: TokenLogprobs | None = None
    ) -> list[GenerationEvent]:
        """The events of one more token. A stop token has no text."""
        self._completion_tokens += 1
        before = self._text.channel
        self._reasoning_tokens += before is Channel.REASONING
        pieces = [] if finish_reason == "stop" else self._text.feed(token)
        self._note_calls(pieces)
        content = before is self._text.channel is Channel.CONTENT
        events: list[GenerationEvent] = [TokenGenerated(token, tuple(pieces), logprobs if content else None)]
        if self._text.met_stop is not None:
            events.append(self._end("stop"))
        elif finish_reason:
            held = self._text.finish(cut=finish_reason == "length")
            self._note_calls(held)
            events.append(self._end(finish_reason, held))
        return events

    def _note_calls(self, pieces: Iterable[Piece]) -> None:
        self._called = self._called or any(piece.step is CallStep.END for piece in pieces)

    def _end(self, reason: FinishReason, pieces: Iterable[Piece] = ()) -> Finished:
        """The reason of the end; an answer with tool calls ends with "tool_calls"."""
        called = self._called and reason == "stop"
        return Finished("tool_calls" if called else reason, self.usage, tuple(pieces), self._text.met_stop)
