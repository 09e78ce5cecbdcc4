"""Which part of an answer is reasoning and which is content, however its text is cut. Knows no tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Channel(StrEnum):
    """Where a piece of text belongs."""

    REASONING = "reasoning"
    CONTENT = "content"


@dataclass(frozen=True)
class Piece:
    """Text of one channel, never empty."""

    channel: Channel
    text: str


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


@dataclass(frozen=True)
class ReasoningMarkers:
    """The two markers of a model that thinks before it answers."""

    start: str = "<think>"
    end: str = "</think>"

    def markers_in(self, channel: Channel) -> tuple[Marker, ...]:
        """The markers that mean something while in `channel`."""
        if channel is Channel.REASONING:
            return (Marker(self.end, Channel.CONTENT, newlines_before=1, newlines_after=2),)
        return (Marker(self.start, Channel.REASONING, newlines_after=1),)

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
    """Sends each character to its channel as soon as it cannot belong to a marker any more."""

    def __init__(self, markers: ReasoningMarkers, opening: Opening) -> None:
        self._markers = markers
        self._channel = opening.channel
        self._newlines = opening.newlines
        self._held = ""

    @property
    def channel(self) -> Channel:
        return self._channel

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain now."""
        self._held += text
        pieces: list[Piece] = []
        while found := self._find_marker():
            marker, start, end = found
            pieces += self._release(start)
            self._held = self._held[end - start :]
            self._channel, self._newlines = marker.opens, marker.newlines_after
        spellings = [s for m in self._markers.markers_in(self._channel) for s in m.spellings()]
        pieces += self._release(len(self._held) - overlap(self._held, spellings))
        return join_pieces(pieces)

    def finish(self) -> list[Piece]:
        """What was held back; the answer ends here."""
        return self._release(len(self._held))

    def _find_marker(self) -> tuple[Marker, int, int] | None:
        """The marker that ends first, with start and end in the held text; the longest spelling of it."""
        found = [
            (start + len(spelling), start, marker)
            for marker in self._markers.markers_in(self._channel)
            for spelling in marker.spellings()
            if (start := self._held.find(spelling)) >= 0
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


def overlap(text: str, patterns: Iterable[str]) -> int:
    """Length of the longest end of `text` that begins one of the patterns without completing it."""
    longest = 0
    for pattern in patterns:
        for length in range(min(len(pattern) - 1, len(text)), longest, -1):
            if text.endswith(pattern[:length]):
                longest = length
                break
    return longest


def join_pieces(pieces: Sequence[Piece]) -> list[Piece]:
    """The same text with neighbours of one channel joined."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and joined[-1].channel is piece.channel:
            joined[-1] = Piece(piece.channel, joined[-1].text + piece.text)
        else:
            joined.append(piece)
    return joined
