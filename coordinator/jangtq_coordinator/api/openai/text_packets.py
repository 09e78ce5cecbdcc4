"""Text of a stream in packets of a few characters: one for each token would cost clients more."""

from dataclasses import dataclass, field
from typing import Final

from jangtq_coordinator.api.chat.content_logprobs import Logged

_FEWEST: Final = 5


@dataclass
class Packet:
    """Text of one member of a delta, and the log-probabilities of its tokens."""

    member: str
    text: str = ""
    logprobs: list[Logged] = field(default_factory=list)


class TextPackets:
    """Holds text back until there are five characters, except the first, which starts the answer."""

    def __init__(self) -> None:
        self._held: Packet | None = None
        self._has_begun = False

    def add(self, member: str, text: str, logprobs: list[Logged]) -> list[Packet]:
        """The packets that are full now."""
        full = self.flush() if self._held is not None and self._held.member != member else []
        held = self._held = self._held or Packet(member)
        held.text += text
        held.logprobs += logprobs
        if self._has_begun and len(held.text) < _FEWEST:
            return full
        self._has_begun = True
        return full + self.flush()

    def flush(self) -> list[Packet]:
        """What is held back."""
        held, self._held = self._held, None
        return [] if held is None else [held]
