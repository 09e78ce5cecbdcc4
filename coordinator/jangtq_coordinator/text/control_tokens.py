"""Keeps the model's control tokens out of what clients write: there, their names are text. Knows no template.

A mark within such a name tells where the text is to be cut before it is encoded, so that no token spans it.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

from jangtq_coordinator.mlx_lm import TokenizerWrapper

CUT: Final = "\ufdd0"
"""No character: Unicode keeps it for the use within programs."""
_ESCAPED_CUT: Final = "\\ufdd0"


class ControlTokens:
    """Those of one tokenizer, but for the markup in `keep`, which templates look for in earlier answers."""

    def __init__(self, tokenizer: TokenizerWrapper, *, keep: Collection[str]) -> None:
        added = tokenizer.added_tokens_decoder.values()
        names = {token.content for token in added if token.special and token.content not in keep}
        choices = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if len(name) > 1)
        self._names = re.compile(choices) if choices else None

    def hide(self, value: object) -> object:
        """The same with a mark in every name of a control token, however deep it stands."""
        if isinstance(value, str):
            return self.hide_in(value)
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(each) for key, each in value.items()}
        return [self.hide(each) for each in value] if isinstance(value, list | tuple) else value

    def hide_in(self, text: str) -> str:
        text = text.replace(CUT, "\ufffd")
        return text if self._names is None else self._names.sub(_marked, text)


def cut(text: str) -> list[str]:
    """The parts of a text between the marks, which are to be encoded each alone."""
    return text.replace(_ESCAPED_CUT, CUT).split(CUT)


def _marked(found: re.Match[str]) -> str:
    return f"{found[0][0]}{CUT}{found[0][1:]}"
