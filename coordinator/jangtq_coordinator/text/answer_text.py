"""One answer's way from tokens to pieces of text: characters, then stop strings, then channels."""

from collections.abc import Sequence

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
        pieces = self._splitter.feed(self._stops.feed(self._detokenizer.feed(token)))
        return join_pieces([*pieces, *self._splitter.finish()]) if self._stops.stopped else pieces

    def finish(self) -> list[Piece]:
        """What was held back; no further token comes."""
        text = self._stops.feed(self._detokenizer.finish()) + self._stops.finish()
        return join_pieces([*self._splitter.feed(text), *self._splitter.finish()])
