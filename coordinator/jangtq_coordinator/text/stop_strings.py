"""Ends an answer's text before the first stop string, however the text is cut."""

from collections.abc import Iterable, Sequence


class StopStrings:
    """Holds text back only while it may still become a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.met: str | None = None

    @property
    def stopped(self) -> bool:
        """Whether one of the stop strings has been met."""
        return self.met is not None

    def feed(self, text: str) -> str:
        """The text that is certain now; empty for ever once `stopped`."""
        if self.stopped:
            return ""
        text = self._held + text
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            # The one that ends first, so that the cut of the text changes nothing.
            _, start, self.met = min(found)
            self._held = ""
            return text[:start]
        certain = len(text) - overlap(text, self._stops)
        self._held = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """What was held back; the answer ends here."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, patterns: Iterable[str]) -> int:
    """Length of the longest end of `text` that begins one of the patterns without completing it."""
    longest = 0
    for pattern in patterns:
        for length in range(min(len(pattern) - 1, len(text)), longest, -1):
            if text.endswith(pattern[:length]):
                longest = length
                break
    return longest
