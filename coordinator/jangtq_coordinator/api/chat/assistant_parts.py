"""The reasoning of an earlier answer, in each of the forms that clients keep it in. Knows no message."""

from collections.abc import Mapping
from typing import Final

_START: Final = "<think>"
_END: Final = "</think>"


def lift_thoughts(given: object) -> object:
    """An assistant message whose content's parts of type `thinking` became its reasoning."""
    content = given.get("content") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(content, list):
        return given
    thoughts = [_thought(part) for part in content if _is_thought(part)]
    if not thoughts:
        return given
    kept = given.get("reasoning_content") or "".join(thoughts)
    said = [part for part in content if not _is_thought(part)]
    return given | {"reasoning_content": kept, "content": said or None}


def _is_thought(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in ("thinking", "redacted_thinking", "reasoning")


def _thought(part: Mapping[str, object]) -> str:
    """The text is a string, or a list of text parts as Mistral writes it."""
    text = part.get("thinking") or part.get("text") or ""
    parts = text if isinstance(text, list) else [text]
    return "".join(str(one.get("text", "")) if isinstance(one, Mapping) else str(one) for one in parts)


def join_details(details: object) -> str:
    """The text of OpenRouter's and MiniMax's `reasoning_details`; what is encrypted has none."""
    parts = details if isinstance(details, list) else [details]
    texts = [part.get("text") or part.get("summary") for part in parts if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))


def split_thoughts(content: str) -> tuple[str, str]:
    """Reasoning and answer of a content that begins by reasoning between its markers."""
    opened = content.lstrip()
    if not opened.startswith(_START) or _END not in opened:
        return "", content
    thoughts, _, said = opened.removeprefix(_START).partition(_END)
    return thoughts.strip("\n"), said.lstrip("\n")
