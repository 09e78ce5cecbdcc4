"""Ends an answer's text before the first stop string, however the text is cut."""

from collections.abc import Sequence

from jangtq_coordinator.reasoning import overlap


class StopStrings:
    """Holds text back only while it may still become a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """The text that is certain now; empty for ever once `stopped`."""
        if self.stopped:
            return ""
        text = self._held + text
        found = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if found:
            # The one that ends first, so that the cut of the text changes nothing.
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        certain = len(text) - overlap(text, self._stops)
        self._held = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """What was held back; the answer ends here."""
        held, self._held = self._held, ""
        return held
