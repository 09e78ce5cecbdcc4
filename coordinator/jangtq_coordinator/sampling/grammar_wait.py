"""Where in an answer its grammar begins. Knows no tokens."""

import re
from collections.abc import Sequence
from typing import Final

from jangtq_coordinator.text.tool_calls import BLOCK_START

_CALL: Final = re.compile(rf"{BLOCK_START}\s*<invoke(?=\s)")
_CALL_BEGUN: Final = "\n<invoke"


class GrammarWait:
    """Waits until each of `texts` has stood in the answer, one after the other.

    With `calls`, the first of them ends reasoning, and a call that begins before it does so, too: the same
    that makes it a call for the reader of the answer.
    """

    def __init__(self, texts: Sequence[str] = (), *, calls: bool = False) -> None:
        self._texts = tuple(texts)
        self._calls = calls and self._texts[:1] not in ((), (BLOCK_START,))
        self._text = ""

    @property
    def over(self) -> bool:
        """Whether the grammar has begun."""
        return not self._texts

    def feed(self, text: str) -> str:
        """What of the grammar's part has been said with this; nothing before that begins."""
        self._text += text
        while self._texts:
            call = _CALL.search(self._text) if self._calls else None
            end = self._text.find(self._texts[0])
            if call is not None and not 0 <= end < call.start():
                tag = "" if BLOCK_START in self._texts else BLOCK_START
                self._texts, self._text = (), tag + _CALL_BEGUN + self._text[call.end() :]
            elif end >= 0:
                self._text = self._text[end + len(self._texts[0]) :]
                self._texts, self._calls = self._texts[1:], False
            else:
                return ""
        begun, self._text = self._text, ""
        return begun
