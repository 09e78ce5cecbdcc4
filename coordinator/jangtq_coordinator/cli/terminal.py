"""Writes an answer to the terminal as it comes: reasoning dimmed or folded away, content below it."""

import shutil
import sys
from typing import Protocol

_DIM, _PLAIN, _ANEW = "\033[2m", "\033[0m", "\r\033[K"


class Printer(Protocol):
    """Takes the pieces of an answer in order; a piece may be empty."""

    def reasoning(self, text: str) -> None: ...

    def content(self, text: str) -> None: ...


class AnswerPrinter:
    """Separates reasoning and content by an empty line."""

    def __init__(self) -> None:
        self._reasoned = False

    def reasoning(self, text: str) -> None:
        """Dimmed, if the terminal can."""
        if text:
            self._reasoned = True
            show(dim(text))

    def content(self, text: str) -> None:
        """Plain, after an empty line if reasoning came before."""
        if text:
            show(f"\n\n{text}" if self._reasoned else text)
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


def dim(text: str) -> str:
    """Dimmed text, if the terminal can."""
    return f"{_DIM}{text}{_PLAIN}" if sys.stdout.isatty() else text


def show(text: str) -> None:
    print(text, end="", flush=True)
