"""End tags of the model's markup that close nothing, at the very end of an answer: no reader sees them."""

import re
from typing import Final

_NAMES: Final = ("think", "parameter", "invoke", "minimax:tool_call")
_TAGS: Final = tuple(f"</{name}>" for name in _NAMES)
_RUN: Final = re.compile(rf"(?:\s*(?:{'|'.join(_TAGS)}))+\s*\Z")
_OPENERS: Final = tuple(f"<{name}" for name in _NAMES)


class ClosingTags:
    """Holds back what may be such an end; text that also opens such a tag speaks of markup and stays."""

    def __init__(self) -> None:
        self._held = ""
        self._seen = ""
        self._speaks_of_markup = False

    def feed(self, text: str) -> str:
        """The text that is certain now."""
        if self._speaks_of_markup:
            return text
        self._note(text)
        self._held += text
        count = len(self._held) if self._speaks_of_markup else _certain(self._held)
        certain, self._held = self._held[:count], self._held[count:]
        return certain

    def release(self) -> str:
        """What was held back, where more than text follows."""
        held, self._held = self._held, ""
        return held

    def finish(self) -> str:
        """What was held back, without end tags; the answer ends here."""
        return _RUN.sub("", self.release())

    def _note(self, text: str) -> None:
        seen = self._seen + text
        self._speaks_of_markup = any(opener in seen for opener in _OPENERS)
        self._seen = seen[-max(map(len, _OPENERS)) :]


def _certain(text: str) -> int:
    """How much of the text cannot belong to a run of end tags at its end."""
    start = text.find("<")
    while start >= 0:
        if _may_be_run(text[start:]):
            return start
        start = text.find("<", start + 1)
    return len(text)


def _may_be_run(text: str) -> bool:
    """Whether it is end tags with white space between them, the last one perhaps not whole yet."""
    while text := text.lstrip():
        whole = next((tag for tag in _TAGS if text.startswith(tag)), None)
        if whole is None:
            return any(tag.startswith(text) for tag in _TAGS)
        text = text[len(whole) :]
    return True
