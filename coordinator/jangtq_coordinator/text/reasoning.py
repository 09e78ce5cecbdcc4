"""Which part of an answer is reasoning, content or a tool call, however its text is cut. Knows no tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from jangtq_coordinator.text.stop_strings import overlap
from jangtq_coordinator.text.tool_calls import (
    BLOCK_END,
    BLOCK_START,
    BlockState,
    CallPart,
    CallStep,
    ToolBlock,
)


class Channel(StrEnum):
    """Where a piece of text belongs."""

    REASONING = "reasoning"
    CONTENT = "content"
    TOOL = "tool"


@dataclass(frozen=True)
class Piece:
    """Text of one channel, never empty; in the channel TOOL a part of a call, whose text may be."""

    channel: Channel
    text: str
    step: CallStep | None = None


@dataclass(frozen=True)
class Marker:
    """Text that ends one channel and opens another, with the line breaks that the template puts around it.

    Taking off exactly those lets the next turn's prompt repeat this answer token by token.
    """

    text: str
    opens: Channel
    newlines_before: int = 0
    newlines_after: int = 0

    def spellings(self) -> tuple[str, ...]:
        """The marker with each number of line breaks before it, most first."""
        return tuple("\n" * n + self.text for n in range(self.newlines_before, -1, -1))


_TOOL_MARKER = Marker(BLOCK_START, Channel.TOOL, newlines_before=1)
_LATE_BLOCK_END = Marker(BLOCK_END, Channel.CONTENT, newlines_before=1)


@dataclass(frozen=True)
class ReasoningMarkers:
    """The two markers of a model that thinks before it answers."""

    start: str = "<think>"
    end: str = "</think>"

    @property
    def opens(self) -> Marker:
        return Marker(self.start, Channel.REASONING, newlines_after=1)

    @property
    def closes(self) -> Marker:
        return Marker(self.end, Channel.CONTENT, newlines_before=1, newlines_after=2)

    def opening(self, prompt: str) -> "Opening":
        """How an answer to the rendered `prompt` begins."""
        stripped = prompt.rstrip()
        if not stripped.endswith(self.start):
            return Opening(Channel.CONTENT)
        return Opening(Channel.REASONING, newlines=0 if prompt.endswith("\n") else 1)


@dataclass(frozen=True)
class Opening:
    """The channel that an answer begins in, and how many leading line breaks still belong to the template."""

    channel: Channel
    newlines: int = 0


class ChannelSplitter:
    """Sends each character to its channel as soon as it cannot belong to a marker any more.

    Reasoning opens at the very beginning or never: later its markers are text. With `tool_calls`, a block
    that begins a call ends the reasoning, and its calls leave part by part; what is no call there stays where
    it was. Without an opening everything is content, markers included.
    """

    def __init__(
        self, markers: ReasoningMarkers | None, opening: Opening | None, *, tool_calls: bool = False
    ) -> None:
        self._markers = markers if opening else None
        self._tool_calls = tool_calls
        self._channel = opening.channel if opening else Channel.CONTENT
        self._newlines = opening.newlines if opening else 0
        self._held = ""
        self._block = ToolBlock()
        self._block_start = ""
        self._block_in = self._channel
        self._at_start = self._markers is not None and self._channel is Channel.CONTENT
        # End tags that are still to come, and belong to no text.
        self._late: tuple[Marker, ...] = ()

    @property
    def channel(self) -> Channel:
        return self._channel

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain now."""
        self._held += text
        pieces: list[Piece] = []
        while self._advance(pieces):
            pass
        if not self._waits_for_start():
            spellings = [s for m in self._current_markers() for s in m.spellings()]
            pieces += self._release(len(self._held) - overlap(self._held, spellings))
        return join_pieces(pieces)

    def finish(self, *, cut: bool = False) -> list[Piece]:
        """What was held back; the answer ends here. A tool block that has not ended leaves no tags behind.

        A call that has begun ends with the answer, unless a limit `cut` that off.
        """
        pieces: list[Piece] = []
        while self._channel is Channel.TOOL:
            pieces += self._finish_block(cut)
            while self._advance(pieces):
                pass
        return join_pieces([*pieces, *self._release(len(self._held))])

    def _finish_block(self, cut: bool) -> list[Piece]:
        """Text behind a call is left over; in reasoning, so is what turned out to be no call."""
        text = self._block.rest
        pieces = self._pieces_of(self._block.finish(cut=cut))
        self._leave_block()
        self._held = self._block.rest
        if not self._block.called and (self._held or self._channel is Channel.REASONING):
            self._held = self._block_start + text
            pieces += self._release(len(self._held))
        return pieces

    def _advance(self, pieces: list[Piece]) -> bool:
        """Go to the next channel, if the held text shows where that begins."""
        if self._channel is Channel.TOOL:
            pieces += self._feed_block()
            return self._channel is not Channel.TOOL
        if (found := self._find_marker()) is None:
            return False
        pieces += self._pass_marker(*found)
        return True

    def _feed_block(self) -> list[Piece]:
        """Give the held text to the tool block, and take back what does not belong to it."""
        text, self._held = self._held, ""
        pieces = self._pieces_of(self._block.feed(text))
        if self._block.state is BlockState.OPEN:
            return pieces
        self._leave_block()
        if not self._block.called:
            self._held = self._block_start
            pieces += self._release(len(self._held))
        self._held = self._block.rest
        return pieces

    def _leave_block(self) -> None:
        """To the content behind a call; to where it was found behind what was none."""
        if not self._block.called:
            self._channel = self._block_in
            return
        self._channel = Channel.CONTENT
        if self._block_in is Channel.REASONING and self._markers:
            self._late += (self._markers.closes,)
        if self._block.state is not BlockState.OVER:
            self._late += (_LATE_BLOCK_END,)

    def _pieces_of(self, parts: Iterable[CallPart]) -> list[Piece]:
        pieces = [Piece(Channel.TOOL, part.text, part.step) for part in parts]
        if pieces:
            self._newlines = 0
        return pieces

    def _pass_marker(self, marker: Marker, start: int, end: int) -> list[Piece]:
        if marker.opens is Channel.REASONING:
            self._held, start, end = self._held[start:], 0, end - start
        pieces = self._release(start)
        spelling, self._held = self._held[: end - start], self._held[end - start :]
        self._at_start = False
        if marker.opens is Channel.TOOL:
            # The line breaks still to drop stay counted: the block may turn out to be content.
            self._block, self._block_start, self._block_in = ToolBlock(), spelling, self._channel
        else:
            self._newlines = marker.newlines_after
        self._late = tuple(late for late in self._late if late != marker)
        self._channel = marker.opens
        return pieces

    def _current_markers(self) -> tuple[Marker, ...]:
        tools = (_TOOL_MARKER,) if self._tool_calls else ()
        if self._channel is Channel.REASONING and self._markers:
            return (self._markers.closes, *tools)
        opens = (self._markers.opens,) if self._at_start and self._markers else ()
        return (*opens, *self._late, *tools)

    def _waits_for_start(self) -> bool:
        """Whether reasoning may still open: so far there is white space only."""
        self._at_start = self._at_start and self._channel is Channel.CONTENT
        if not self._at_start or self._markers is None:
            return False
        self._at_start = self._markers.start.startswith(self._held.lstrip())
        return self._at_start

    def _find_marker(self) -> tuple[Marker, int, int] | None:
        """The marker that ends first, with start and end in the held text; the longest spelling of it."""
        found = [
            (start + len(spelling), start, marker)
            for marker in self._current_markers()
            for spelling in marker.spellings()
            if (start := self._held.find(spelling)) >= 0
            and (marker.opens is not Channel.REASONING or not self._held[:start].strip())
        ]
        if not found:
            return None
        end, start, marker = min(found, key=lambda place: place[:2])
        return marker, start, end

    def _release(self, count: int) -> list[Piece]:
        text, self._held = self._held[:count], self._held[count:]
        while self._newlines and text:
            if not text.startswith("\n"):
                self._newlines = 0
                break
            text, self._newlines = text[1:], self._newlines - 1
        return [Piece(self._channel, text)] if text else []


def join_pieces(pieces: Sequence[Piece]) -> list[Piece]:
    """The same text with neighbours of one channel joined; of calls only the parts of one value."""
    joined: list[Piece] = []
    for piece in pieces:
        alike = joined and joined[-1].channel is piece.channel and joined[-1].step is piece.step
        if alike and piece.step in (None, CallStep.VALUE):
            joined[-1] = Piece(piece.channel, joined[-1].text + piece.text, piece.step)
        else:
            joined.append(piece)
    return joined
