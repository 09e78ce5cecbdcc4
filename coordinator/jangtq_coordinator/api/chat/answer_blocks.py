"""What one choice of a turn has said, as blocks of one kind each, and what each event adds. Knows no API."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from jangtq_coordinator.api.chat.content_logprobs import ContentLogprobs, Logged, TokenBytes
from jangtq_coordinator.engine.events import Finished, TokenGenerated
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

    def __init__(self, schemas: Mapping[str, Schema], token_bytes: TokenBytes) -> None:
        self._schemas = schemas
        self._logprobs = ContentLogprobs(token_bytes)
        self._open: AnswerBlock | None = None
        self._arguments = ArgumentWriter({})
        self.blocks: list[AnswerBlock] = []
        self.tokens = 0
        """How many the answer has so far."""
        self._untold: list[Logged] = []
        self.end: Finished | None = None

    def add(self, event: TokenGenerated | Finished) -> list[Change]:
        """What an event changes, in order."""
        if isinstance(event, Finished):
            self.end = event
        else:
            self.tokens += 1
            if event.logprobs is not None:
                self._logprobs.add(event.token, event.logprobs)
        content = "".join(piece.text for piece in event.pieces if piece.channel is Channel.CONTENT)
        self._untold += self._logprobs.release(content, last=self.end is not None)
        changes: list[Change] = []
        for piece in event.pieces:
            changes += self._grow(piece.channel, piece.text) if piece.step is None else self._call(piece)
        return changes + (self._close() if self.end else [])

    @property
    def logprobs(self) -> list[Logged]:
        """Of the content so far, token by token."""
        return self._logprobs.logged

    def take_logprobs(self) -> list[Logged]:
        """Of the content since this was asked for the last time."""
        untold, self._untold = self._untold, []
        return untold

    def text(self, channel: Channel) -> str:
        """All text of a channel."""
        return "".join(block.text for block in self.blocks if block.channel is channel)

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
