"""The calls in a <minimax:tool_call> block, however its text is cut. Knows no tokens and no schemas.

A value ends at the first </parameter> whose next tag, white space aside, is <parameter name=" or an </invoke>
that is itself followed by <invoke name=", by </minimax:tool_call> or by the end of the answer. Such tags
are part of the value anywhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

BLOCK_START: Final = "<minimax:tool_call>"
BLOCK_END: Final = "</minimax:tool_call>"
_INVOKE: Final = '<invoke name="'
_INVOKE_END: Final = "</invoke>"
_PARAMETER: Final = '<parameter name="'
_PARAMETER_END: Final = "</parameter>"
_NAME_END: Final = '">'
_WHITE_SPACE: Final = " \t\r\n"


@dataclass(frozen=True)
class Invoke:
    """One whole call: parameter names with their values as the model wrote them, in its order."""

    name: str
    parameters: tuple[tuple[str, str], ...] = ()


class BlockState(Enum):
    """`OVER` after the end tag, `BROKEN` after text that no call begins with."""

    OPEN = auto()
    OVER = auto()
    BROKEN = auto()


@dataclass(frozen=True)
class _Tag:
    """The next tag after white space; an empty text says that other text is there."""

    text: str
    end: int


class ToolBlock:
    """Reads what follows BLOCK_START. A call is given when it is whole, never in part."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._step = self._read_between
        self._finishing = False
        self._name = ""
        self._key = ""
        self._value_start = 0
        self._parameters: list[tuple[str, str]] = []
        self._calls: list[Invoke] = []
        self._called = False
        self.state = BlockState.OPEN

    @property
    def rest(self) -> str:
        """What belongs to no whole call: after the end the text behind it, before that all text in hand."""
        return self._text

    @property
    def called(self) -> bool:
        """Whether there has been a whole call."""
        return self._called

    def feed(self, text: str) -> list[Invoke]:
        """The calls that are whole now."""
        self._text += text
        while self.state is BlockState.OPEN and self._step():
            pass
        calls, self._calls = self._calls, []
        return calls

    def finish(self) -> list[Invoke]:
        """The call that only waited for what would follow it; the answer ends here.

        An end tag that was cut off is dropped, since all calls before it are whole.
        """
        self._finishing = True
        calls = self.feed("")
        if self._called and BLOCK_END.startswith(self._text.strip(_WHITE_SPACE)):
            self._text = ""
        return calls

    def _read_between(self) -> bool:
        """Between two calls."""
        ends = (BLOCK_END,) if self._called else ()
        tag = self._next_tag(self._at, (_INVOKE, *ends))
        if tag is None:
            return False
        if tag.text == _INVOKE:
            self._at, self._step = tag.end, self._read_invoke_name
            return True
        self.state = BlockState.OVER if tag.text else BlockState.BROKEN
        if tag.text:
            self._text = self._text[tag.end :]
        return False

    def _read_invoke_name(self) -> bool:
        name = self._read_name()
        if name is None:
            return False
        self._name, self._parameters = name, []
        self._step = self._read_first_tag
        return True

    def _read_first_tag(self) -> bool:
        """After the name of a call."""
        if (tag := self._next_in_call(self._at)) is None:
            return False
        if not tag.text:
            self.state = BlockState.BROKEN
            return False
        self._take(tag)
        return True

    def _read_parameter_name(self) -> bool:
        name = self._read_name()
        if name is None:
            return False
        self._key, self._value_start = name, self._at
        self._step = self._read_value
        return True

    def _read_value(self) -> bool:
        end = self._text.find(_PARAMETER_END, self._at)
        if end < 0:
            self._at = max(self._at, len(self._text) - len(_PARAMETER_END) + 1)
            return False
        self._at = end
        if (tag := self._next_in_call(end + len(_PARAMETER_END))) is None:
            return False
        if not tag.text:
            self._at = end + 1
            return True
        self._parameters.append((self._key, self._text[self._value_start : end]))
        self._take(tag)
        return True

    def _read_name(self) -> str | None:
        """A name up to its closing quote; an empty one or a line break in it breaks the block."""
        name, end, _ = self._text[self._at :].partition(_NAME_END)
        if "\n" in name or (end and not name):
            self.state = BlockState.BROKEN
            return None
        if not end:
            return None
        self._at += len(name) + len(end)
        return name

    def _take(self, tag: _Tag) -> None:
        """Go on behind a tag inside a call."""
        self._at, self._step = tag.end, self._read_parameter_name
        if tag.text == _INVOKE_END:
            self._calls.append(Invoke(self._name, tuple(self._parameters)))
            self._called = True
            self._text, self._at, self._step = self._text[tag.end :], 0, self._read_between

    def _next_in_call(self, at: int) -> _Tag | None:
        """The next tag of a call; </invoke> counts only where the call can end."""
        tag = self._next_tag(at, (_PARAMETER, _INVOKE_END))
        if tag is None or tag.text != _INVOKE_END:
            return tag
        following = self._next_tag(tag.end, (_INVOKE, BLOCK_END))
        if following is None:
            return tag if self._finishing else None
        return tag if following.text else following

    def _next_tag(self, at: int, tags: Sequence[str]) -> _Tag | None:
        """None while more text may still complete one of `tags`."""
        text = self._text[at:].lstrip(_WHITE_SPACE)
        for tag in tags:
            if text.startswith(tag):
                return _Tag(tag, len(self._text) - len(text) + len(tag))
        return None if any(tag.startswith(text) for tag in tags) else _Tag("", at)
