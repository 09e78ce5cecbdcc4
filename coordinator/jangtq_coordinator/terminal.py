"""Writes an answer to the terminal as it comes: reasoning dimmed, content plain."""

import sys

_DIM, _PLAIN = "\033[2m", "\033[0m"


def show_reasoning(text: str) -> None:
    """Dimmed where the terminal can."""
    _show(f"{_DIM}{text}{_PLAIN}" if text and sys.stdout.isatty() else text)


def show_content(text: str) -> None:
    """As it is."""
    _show(text)


def _show(text: str) -> None:
    if text:
        print(text, end="", flush=True)
