"""The answers under way: each turns its tokens into events. Knows no model and no batch."""

from jangtq_coordinator.answer_text import AnswerText
from jangtq_coordinator.events import Finished, FinishReason, GenerationEvent, TokenGenerated, Usage
from jangtq_coordinator.reasoning import Channel


class Answer:
    """One answer, from its first token to its end."""

    def __init__(self, text: AnswerText, *, prompt_tokens: int) -> None:
        self._text = text
        self._prompt_tokens = prompt_tokens
        self._completion_tokens = 0
        self._reasoning_tokens = 0

    @property
    def usage(self) -> Usage:
        return Usage(self._prompt_tokens, self._completion_tokens, self._reasoning_tokens)

    def add(self, token: int, finish_reason: FinishReason | None) -> list[GenerationEvent]:
        """The events of one more token. The token that means "stop" has no text."""
        self._completion_tokens += 1
        self._reasoning_tokens += self._text.channel is Channel.REASONING
        pieces = [] if finish_reason == "stop" else self._text.feed(token)
        events: list[GenerationEvent] = [TokenGenerated(token, tuple(pieces))]
        if self._text.stopped:
            events.append(Finished("stop", self.usage))
        elif finish_reason:
            events.append(Finished(finish_reason, self.usage, tuple(self._text.finish())))
        return events
