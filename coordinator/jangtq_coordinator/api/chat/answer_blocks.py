"""What one choice of a turn has said, as blocks of one kind each, and what each event adds. Knows no API."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from jangtq_coordinator.api.chat.chat_messages import AssistantMessage, CalledFunction, ToolCall
from jangtq_coordinator.engine.events import Finished, TokenGenerated, Usage
from jangtq_coordinator.sampling.sampler import TokenLogprobs
from jangtq_coordinator.text.reasoning import Channel, Piece
from jangtq_coordinator.text.tool_arguments import ArgumentWriter, Schema
from jangtq_coordinator.text.tool_calls import CallStep


@dataclass(eq=False)
class AnswerBlock:
    """A stretch of one channel. That of a call has the function's name, and as text the arguments' JSON.

    A call that is not `whole` was cut off by the end of the answer, and its JSON with it.
    """

    channel: Channel
    index: int
    name: str = ""
    text: str = ""
    whole: bool = True
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:24])


class Step(Enum):
    """A block begins, grows or ends."""

    START = auto()
    DELTA = auto()
    STOP = auto()


@dataclass(frozen=True)
class Change:
    """`text` is what a DELTA adds; the block has it already."""

    step: Step
    block: AnswerBlock
    text: str = ""


class AnswerBlocks:
    """`schemas` are those of the offered functions; of others every argument is a string."""

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self._schemas = schemas
        self._open: AnswerBlock | None = None
        self._arguments = ArgumentWriter({})
        self.blocks: list[AnswerBlock] = []
        self.logprobs: list[tuple[int, TokenLogprobs]] = []
        self.end: Finished | None = None

    def add(self, event: TokenGenerated | Finished) -> list[Change]:
        """What an event changes, in order."""
        if isinstance(event, Finished):
            self.end = event
        elif event.logprobs is not None:
            self.logprobs.append((event.token, event.logprobs))
        changes: list[Change] = []
        for piece in event.pieces:
            changes += self._grow(piece.channel, piece.text) if piece.step is None else self._call(piece)
        return changes + (self._close() if self.end else [])

    def text(self, channel: Channel) -> str:
        """All text of a channel."""
        return "".join(block.text for block in self.blocks if block.channel is channel)

    @property
    def message(self) -> AssistantMessage:
        """The answer as a later turn's history has it."""
        calls = [
            ToolCall(
                id=f"call_{call.id}",
                function=CalledFunction.model_validate({"name": call.name, "arguments": call.text}),
            )
            for call in self.calls
            if call.whole
        ]
        return AssistantMessage(
            role="assistant",
            content=self.text(Channel.CONTENT),
            reasoning_content=self.text(Channel.REASONING) or None,
            tool_calls=calls or None,
        )

    @property
    def calls(self) -> list[AnswerBlock]:
        return [block for block in self.blocks if block.channel is Channel.TOOL]

    def _grow(self, channel: Channel, text: str) -> list[Change]:
        changes: list[Change] = []
        if self._open is None or self._open.channel is not channel:
            changes = [*self._close(), self._start(AnswerBlock(channel, len(self.blocks)))]
        block = self.blocks[-1]
        block.text += text
        return [*changes, Change(Step.DELTA, block, text)] if text else changes

    def _call(self, piece: Piece) -> list[Change]:
        if piece.step is CallStep.START:
            self._arguments = ArgumentWriter(self._schemas.get(piece.text, {}))
            return [
                *self._close(),
                self._start(AnswerBlock(Channel.TOOL, len(self.blocks), piece.text, whole=False)),
            ]
        match piece.step:
            case CallStep.PARAMETER:
                return self._grow(Channel.TOOL, self._arguments.parameter(piece.text))
            case CallStep.VALUE:
                return self._grow(Channel.TOOL, self._arguments.value(piece.text))
        changes = self._grow(Channel.TOOL, self._arguments.end())
        self.blocks[-1].whole = True
        return [*changes, *self._close()]

    def _start(self, block: AnswerBlock) -> Change:
        self.blocks.append(block)
        self._open = block
        return Change(Step.START, block)

    def _close(self) -> list[Change]:
        block, self._open = self._open, None
        return [] if block is None else [Change(Step.STOP, block)]


def total_usage(choices: Sequence[AnswerBlocks], *, per_prompt: int) -> Usage:
    """The tokens of all choices; each prompt counts once, however many answers it has."""
    usages = [choice.end.usage for choice in choices if choice.end]
    prompts = usages[::per_prompt]
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in prompts),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in prompts),
    )
