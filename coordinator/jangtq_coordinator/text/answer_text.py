"""One answer's way from tokens to pieces of text: characters, then channels, then stop strings."""

from collections.abc import Iterable, Sequence

from jangtq_coordinator.text.closing_tags import ClosingTags
from jangtq_coordinator.text.detokenizer import Detokenizer
from jangtq_coordinator.text.reasoning import (
    Channel,
    ChannelSplitter,
    Opening,
    Piece,
    ReasoningMarkers,
    join_pieces,
)
from jangtq_coordinator.text.stop_strings import StopStrings


class AnswerText:
    """Gives each piece of text as soon as it is certain."""

    def __init__(
        self,
        detokenizer: Detokenizer,
        *,
        stops: Sequence[str],
        markers: ReasoningMarkers | None,
        opening: Opening | None,
        tool_calls: bool = False,
    ) -> None:
        self._detokenizer = detokenizer
        self._stops = StopStrings(stops)
        self._splitter = ChannelSplitter(markers, opening, tool_calls=tool_calls)
        self._tags = ClosingTags() if markers and opening else None
        self._after_reasoning = opening is not None and opening.channel is Channel.REASONING

    @property
    def met_stop(self) -> str | None:
        """The stop string that has been met."""
        return self._stops.met

    @property
    def channel(self) -> Channel:
        """Where the next token belongs, as far as is known."""
        return self._splitter.channel

    def feed(self, token: int) -> list[Piece]:
        """The pieces that are certain now; never any of a stop string or of what follows it."""
        return self._until_stop(self._splitter.feed(self._detokenizer.feed(token)))

    def finish(self, *, cut: bool = False) -> list[Piece]:
        """What was held back; no further token comes, because of a limit where the answer is `cut`."""
        pieces = [*self._splitter.feed(self._detokenizer.finish()), *self._splitter.finish(cut=cut)]
        last = [*self._until_stop(pieces), *self._content(self._stops.finish())]
        return join_pieces([*last, *_as_content(self._tags.finish() if self._tags else "")])

    def _until_stop(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Stop strings are looked for in what the reader sees as content, and nowhere else."""
        kept: list[Piece] = []
        for piece in pieces:
            if self._stops.stopped:
                break
            if piece.channel is Channel.CONTENT:
                kept += self._scan(piece.text)
            else:
                kept += [*self._content(self._stops.finish()), *self._released_tags(), piece]
                self._after_reasoning = piece.channel is Channel.REASONING
        return join_pieces([*kept, *self._released_tags()] if self._stops.stopped else kept)

    def _scan(self, text: str) -> list[Piece]:
        """White space between reasoning and answer is no part of the answer that a stop string could end."""
        space = ""
        if self._after_reasoning:
            begun = text.lstrip()
            space, text = text[: len(text) - len(begun)], begun
            self._after_reasoning = not begun
        return self._content(space + self._stops.feed(text))

    def _content(self, text: str) -> list[Piece]:
        return _as_content(self._tags.feed(text) if self._tags else text)

    def _released_tags(self) -> list[Piece]:
        return _as_content(self._tags.release() if self._tags else "")


def _as_content(text: str) -> list[Piece]:
    return [Piece(Channel.CONTENT, text)] if text else []
