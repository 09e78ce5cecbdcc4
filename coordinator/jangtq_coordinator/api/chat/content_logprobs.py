"""Which tokens the content of an answer consists of: joined, their texts are the content.

The end token, line breaks that belong to the template, markup and stop strings are tokens, but no content.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass

from jangtq_coordinator.sampling.sampler import TokenLogprobs

Logged = tuple[int, TokenLogprobs]
TokenBytes = Callable[[int], bytes]


@dataclass(frozen=True)
class _Entry:
    """Tokens that make up whole characters together."""

    tokens: tuple[Logged, ...]
    text: str

    @property
    def without_breaks(self) -> str:
        return self.text.lstrip("\n")


class ContentLogprobs:
    """Tokens wait here until their text leaves as content; what leaves in no content is dropped."""

    def __init__(self, token_bytes: TokenBytes) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial: list[Logged] = []
        self._waiting: list[_Entry] = []
        self._text = ""
        self.logged: list[Logged] = []
        """Those of the content so far."""

    def add(self, token: int, logprobs: TokenLogprobs) -> None:
        """One more token that may be content."""
        self._partial.append((token, logprobs))
        if text := self._decoder.decode(self._token_bytes(token)):
            self._enter(text)

    def release(self, content: str, *, last: bool = False) -> list[Logged]:
        """The tokens of content that leaves now; those of a character that stays incomplete come `last`."""
        self._text += content
        if last and self._partial:
            self._enter(self._decoder.decode(b"", final=True))
        matched: list[Logged] = []
        while self._text and self._waiting:
            entry = self._waiting[0]
            text = entry.text if _meet(self._text, entry.text) else entry.without_breaks
            if text and len(text) > len(self._text) and text.startswith(self._text):
                break
            if text and self._text.startswith(text):
                self._text = self._text[len(text) :]
                matched += entry.tokens
            self._waiting.pop(0)
        self.logged += matched
        return matched

    def _enter(self, text: str) -> None:
        self._waiting.append(_Entry(tuple(self._partial), text))
        self._partial = []


def _meet(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
