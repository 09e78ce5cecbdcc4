"""Writes an answer to the terminal as it comes: reasoning dimmed or folded away, content below it."""

import shutil
import sys
from typing import Final, Protocol, TextIO

from rich.console import Console

_DIM, _PLAIN, _ANEW = "\033[2m", "\033[0m", "\r\033[K"


_PIPED_COLUMNS: Final = 240


class Printer(Protocol):
    """Takes the pieces of an answer in order; a piece may be empty."""

    def reasoning(self, text: str) -> None: ...

    def content(self, text: str) -> None: ...


class AnswerPrinter:
    """Separates reasoning and content by an empty line; reasoning goes to a stream of its own."""

    def __init__(self, reasoning_to: TextIO | None = None) -> None:
        self._reasoning_to = reasoning_to or sys.stdout
        self._reasoned = False

    def reasoning(self, text: str) -> None:
        """Dimmed, if the terminal can."""
        if text:
            self._reasoned = True
            show(dim(text, self._reasoning_to), self._reasoning_to)

    def content(self, text: str) -> None:
        """Plain, after an empty line if reasoning came before."""
        if text:
            if self._reasoned:
                show("\n\n", self._reasoning_to)
            show(text)
            self._reasoned = False


class FoldingPrinter:
    """Shows the newest line of the reasoning, if the terminal can; one line replaces it at its end."""

    def __init__(self) -> None:
        self._reasoning = ""

    def reasoning(self, text: str) -> None:
        self._reasoning += text
        if text and sys.stdout.isatty():
            newest = self._reasoning.rstrip().rpartition("\n")[2]
            show(_ANEW + dim(f"> {newest}"[: shutil.get_terminal_size().columns - 1]))

    def content(self, text: str) -> None:
        if text:
            self.fold()
            show(text)

    def fold(self) -> None:
        """End the reasoning, if it is still shown."""
        lines = len(self._reasoning.strip().splitlines())
        if lines:
            anew = _ANEW if sys.stdout.isatty() else ""
            noun = "line" if lines == 1 else "lines"
            show(f"{anew}{dim(f'> {lines} {noun} of reasoning')}\n")
        self._reasoning = ""


def console() -> Console:
    """For tables: as wide as the terminal, and wide enough for every row where the output goes elsewhere."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPED_COLUMNS)


def dim(text: str, stream: TextIO | None = None) -> str:
    """Dimmed text, if the terminal can."""
    return f"{_DIM}{text}{_PLAIN}" if (stream or sys.stdout).isatty() else text


def show(text: str, stream: TextIO | None = None) -> None:
    print(text, end="", flush=True, file=stream or sys.stdout)
