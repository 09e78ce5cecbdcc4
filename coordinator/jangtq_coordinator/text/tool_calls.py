"""The calls in a <minimax:tool_call> block, part by part, however it is cut. Knows no tokens, no schemas.

A value ends at the first </parameter> whose next tag, white space aside, is <parameter name=" or an </invoke>
that is itself followed by <invoke name=", by </minimax:tool_call> or by the end of the answer. Such tags
are part of the value anywhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from jangtq_coordinator.text.stop_strings import overlap

BLOCK_START: Final = "<minimax:tool_call>"
BLOCK_END: Final = "</minimax:tool_call>"
_INVOKE: Final = '<invoke name="'
_INVOKE_END: Final = "</invoke>"
_PARAMETER: Final = '<parameter name="'
_PARAMETER_END: Final = "</parameter>"
_NAMED: Final = (_INVOKE, _PARAMETER)
_NAME_END: Final = '">'
_WHITE_SPACE: Final = " \t\r\n"


class CallStep(Enum):
    """A call is START, then for each parameter PARAMETER and any number of VALUE, then END.

    It has no END where the answer ends inside it.
    """

    START = auto()
    PARAMETER = auto()
    VALUE = auto()
    END = auto()


@dataclass(frozen=True)
class CallPart:
    """`text` is the function's name, the parameter's name, or more of its value exactly as it was written."""

    step: CallStep
    text: str = ""


class BlockState(Enum):
    """`OVER` after the end tag, `BROKEN` after text that no call begins with."""

    OPEN = auto()
    OVER = auto()
    BROKEN = auto()


@dataclass(frozen=True)
class _Tag:
    """The next tag after white space, and the name in it; an empty text says that other text is there."""

    text: str
    end: int
    name: str = ""


class ToolBlock:
    """Reads what follows BLOCK_START. A call's parts are given as soon as they are certain.

    Nothing of a call is given before its first tag, so that what is no call can be given back.
    """

    def __init__(self) -> None:
        self._text = ""
        self._step = self._read_between
        self._finishing = False
        self._name = ""
        self._name_end = 0
        self._parts: list[CallPart] = []
        self.called = False
        """Whether a call has begun."""
        self.state = BlockState.OPEN

    @property
    def rest(self) -> str:
        """What belongs to no call: after the end the text behind it, before that all text in hand."""
        return self._text

    def feed(self, text: str) -> list[CallPart]:
        """The parts that are certain now."""
        self._text += text
        while self.state is BlockState.OPEN and self._step():
            pass
        parts, self._parts = self._parts, []
        return parts

    def finish(self) -> list[CallPart]:
        """What waited for more text; the answer ends here. Tags that are cut off are dropped."""
        self._finishing = True
        parts = self.feed("")
        if self.state is BlockState.OPEN:
            if self._step == self._read_value and self._text and not self._text.startswith(_PARAMETER_END):
                parts.append(CallPart(CallStep.VALUE, self._text))
            self._text = ""
        return parts

    def _read_between(self) -> bool:
        """Between two calls."""
        tag = self._next_tag(0, (_INVOKE, BLOCK_END) if self.called else (_INVOKE,))
        if tag is None:
            return False
        if tag.text == _INVOKE:
            self._name, self._name_end, self._step = tag.name, tag.end, self._read_first_tag
            return True
        self.state = BlockState.OVER if tag.text else BlockState.BROKEN
        self._text = self._text[tag.end :]
        return False

    def _read_first_tag(self) -> bool:
        """After the name of a call."""
        if (tag := self._next_in_call(self._name_end)) is None:
            return False
        if not tag.text:
            self.state = BlockState.BROKEN
            return False
        self.called = True
        self._parts.append(CallPart(CallStep.START, self._name))
        self._take(tag)
        return True

    def _read_value(self) -> bool:
        end = self._text.find(_PARAMETER_END)
        if end < 0:
            self._give(len(self._text) - overlap(self._text, [_PARAMETER_END]))
            return False
        self._give(end)
        if (tag := self._next_in_call(len(_PARAMETER_END))) is None:
            return False
        if tag.text:
            self._take(tag)
        else:
            self._give(1)
        return True

    def _give(self, count: int) -> None:
        """The first characters in hand are certain to be of the value."""
        value, self._text = self._text[:count], self._text[count:]
        if value:
            self._parts.append(CallPart(CallStep.VALUE, value))

    def _take(self, tag: _Tag) -> None:
        """Go on behind a tag inside a call."""
        self._text = self._text[tag.end :]
        if tag.text == _PARAMETER:
            self._parts.append(CallPart(CallStep.PARAMETER, tag.name))
            self._step = self._read_value
        else:
            self._parts.append(CallPart(CallStep.END))
            self._step = self._read_between

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
        start = len(self._text) - len(text)
        for tag in tags:
            if text.startswith(tag):
                return (
                    self._named(tag, start + len(tag), at) if tag in _NAMED else _Tag(tag, start + len(tag))
                )
        return None if any(tag.startswith(text) for tag in tags) else _Tag("", at)

    def _named(self, tag: str, start: int, at: int) -> _Tag | None:
        """A tag with the name that begins at `start`; without a name, or with a line break in it, none."""
        name, end, _ = self._text[start:].partition(_NAME_END)
        if "\n" in name or (end and not name):
            return _Tag("", at)
        return _Tag(tag, start + len(name) + len(end), name) if end else None
