"""The calls in a <minimax:tool_call> block, part by part, however it is cut. Knows no tokens, no schemas.

A value ends at the first </parameter> whose next tag, white space aside, is <parameter name=, <invoke name=,
</minimax:tool_call> or an </invoke> that is itself followed by such a tag or by the end of the answer. Where
none comes, it ends at the first </invoke> that could be its end. Such tags are part of the value anywhere
else. Names may stand in double, single or no quotes, as in MiniMax's own parser.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from jangtq_coordinator.text.stop_strings import overlap

BLOCK_START: Final = "<minimax:tool_call>"
BLOCK_END: Final = "</minimax:tool_call>"
INVOKE: Final = "<invoke name="
_INVOKE_END: Final = "</invoke>"
_PARAMETER: Final = "<parameter name="
_PARAMETER_END: Final = "</parameter>"
_NAMED: Final = (INVOKE, _PARAMETER)
_CALL_ENDS: Final = (INVOKE, BLOCK_END)
_WHITE_SPACE: Final = " \t\r\n"
_VALUE_ENDS: Final = (_PARAMETER_END, _INVOKE_END, "\n" + _INVOKE_END)
_QUOTED: Final = re.compile(r"""(["'])(?P<name>(?:(?!\1).)+)\1[ \t]*>""")
_MAY_BE_QUOTED: Final = re.compile(r"""(["'])(?:(?!\1).)*(?:\1[ \t]*)?""")
_LOOSE: Final = re.compile(r"""[ \t]*["']?(?P<name>[^>"']+)["']?[ \t]*>""")
_WEAK_END: Final = re.compile(
    rf"\n?{_INVOKE_END}\s*(?:{BLOCK_END}|\Z)|{_PARAMETER_END}\s*{_INVOKE_END}(?:\s*{BLOCK_END})?"
)
"""Where a value ends if it ends nowhere else: a tag is missing, or text follows within the block."""
_MAY_BE_WEAK_END: Final = re.compile(rf"\n?{_INVOKE_END}|{_PARAMETER_END}\s*{_INVOKE_END}")


class CallStep(Enum):
    """A call is START, then for each parameter PARAMETER and any number of VALUE, then END.

    It has no END where the limit of tokens cuts it off.
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

    def finish(self, *, cut: bool = False) -> list[CallPart]:
        """What waited for more text; the answer ends here. Tags that are cut off are dropped.

        A call ends with the answer, unless that was `cut` off by a limit.
        """
        self._finishing = True
        parts = self.feed("")
        if self.state is BlockState.OPEN:
            self._finish_call(cut)
        return parts + self._parts

    def _finish_call(self, cut: bool) -> None:
        if self._step == self._read_first_tag and not cut:
            self.called = True
            self._parts += [CallPart(CallStep.START, self._name), CallPart(CallStep.END)]
        elif self._step == self._read_value:
            if not cut and (end := _WEAK_END.search(self._text)):
                self._end_early(end)
                return
            if not self._text.startswith(_PARAMETER_END):
                begun_end = 0 if cut else overlap(self._text, [_PARAMETER_END])
                self._give(len(self._text) - (begun_end if begun_end > 1 else 0))
            self._parts += [] if cut else [CallPart(CallStep.END)]
        self._text = ""

    def _end_early(self, end: re.Match[str]) -> None:
        """End the call where only text follows that is no call; that text is left as the rest."""
        self._give(end.start())
        self._parts.append(CallPart(CallStep.END))
        rest = self._text[end.end() - end.start() :]
        self._text = "" if not rest.strip() else rest
        self.state = BlockState.BROKEN

    def _read_between(self) -> bool:
        """Between two calls."""
        tag = self._next_tag(0, _CALL_ENDS if self.called else (INVOKE,))
        if tag is None:
            return False
        if tag.text == INVOKE:
            self._name, self._name_end, self._step = tag.name, tag.end, self._read_first_tag
            return True
        self.state = BlockState.OVER if tag.text else BlockState.BROKEN
        self._text = self._text[tag.end :]
        return False

    def _read_first_tag(self) -> bool:
        """After the name of a call."""
        tag = self._next_tag(self._name_end, (_PARAMETER, _INVOKE_END, *_CALL_ENDS))
        if tag is None:
            return False
        if not tag.text:
            self.state = BlockState.BROKEN
            return False
        self.called = True
        self._parts.append(CallPart(CallStep.START, self._name))
        self._text = self._text[self._name_end :]
        self._take(replace(tag, end=tag.end - self._name_end))
        return True

    def _read_value(self) -> bool:
        end = self._text.find(_PARAMETER_END)
        while end >= 0:
            behind = end + len(_PARAMETER_END)
            if (tag := self._next_in_call(behind)) is None:
                self._give(end if self._finishing else self._certain(end))
                return False
            if tag.text:
                self._give(end)
                self._text = self._text[len(_PARAMETER_END) :]
                self._take(replace(tag, end=tag.end - behind))
                return True
            end = self._text.find(_PARAMETER_END, behind)
        self._give(self._certain(len(self._text) - overlap(self._text, _VALUE_ENDS)))
        return False

    def _certain(self, count: int) -> int:
        """How many of the first characters are of the value even if no end tag follows that must be one."""
        weak = _MAY_BE_WEAK_END.search(self._text, 0, count)
        return weak.start() if weak else count

    def _give(self, count: int) -> None:
        """The first characters in hand are certain to be of the value."""
        value, self._text = self._text[:count], self._text[count:]
        if value:
            self._parts.append(CallPart(CallStep.VALUE, value))

    def _take(self, tag: _Tag) -> None:
        """Go on behind a tag of a call, or before one that shows that the call has ended."""
        if tag.text == _PARAMETER:
            self._parts.append(CallPart(CallStep.PARAMETER, tag.name))
            self._step = self._read_value
        else:
            self._parts.append(CallPart(CallStep.END))
            self._step = self._read_between
        if tag.text not in _CALL_ENDS:
            self._text = self._text[tag.end :]

    def _next_in_call(self, at: int) -> _Tag | None:
        """The next tag of a call; </invoke> counts only where the call can end."""
        tag = self._next_tag(at, (_PARAMETER, _INVOKE_END, *_CALL_ENDS))
        if tag is None or tag.text != _INVOKE_END:
            return tag
        following = self._next_tag(tag.end, (*_CALL_ENDS, BLOCK_START))
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
        line, line_break, _ = self._text[start:].partition("\n")
        found = _QUOTED.match(line)
        if found is None and not line_break and _MAY_BE_QUOTED.fullmatch(line) and not self._finishing:
            return None
        if found := found or _LOOSE.match(line):
            return _Tag(tag, start + found.end(), found["name"].strip())
        return _Tag("", at) if line_break or ">" in line else None
