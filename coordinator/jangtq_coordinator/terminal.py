"""Writes an answer to the terminal as it comes: reasoning dimmed, content below it."""

import sys

_DIM, _PLAIN = "\033[2m", "\033[0m"


class AnswerPrinter:
    """Keeps the two channels apart by an empty line."""

    def __init__(self) -> None:
        self._reasoned = False

    def reasoning(self, text: str) -> None:
        """Dimmed where the terminal can."""
        if text:
            self._reasoned = True
            self._show(f"{_DIM}{text}{_PLAIN}" if sys.stdout.isatty() else text)

    def content(self, text: str) -> None:
        """As it is, after an empty line where reasoning came before."""
        if text:
            self._show(f"\n\n{text}" if self._reasoned else text)
            self._reasoned = False

    def _show(self, text: str) -> None:
        print(text, end="", flush=True)
