"""The parts of a message's content as one text. Knows no message."""

from collections.abc import Callable
from typing import Final

# OpenAI's responses distinguish the author of a text.
_TEXT_KINDS: Final = ("text", "input_text", "output_text", "reasoning_text", "summary_text")
TEXT_ONLY: Final = "this model reads text only. Leave the part out, or say in words what it shows"


def join_text(content: object) -> object:
    """The text of a list of parts; other values as they are. Raises ValueError for parts that are no text."""
    return _join(content, _refuse)


def join_result_text(content: object) -> object:
    """The same for a tool's result, where a text stands in for images.

    Agents send results again in every turn, so a refusal would end the session.
    """
    return _join(content, _stand_in)


def _join(content: object, other: Callable[[str], str]) -> object:
    if not isinstance(content, list):
        return content
    return "".join(_text_of(part, other) for part in content)


def _text_of(part: object, other: Callable[[str], str]) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str):
        raise ValueError('a content part must be an object like {"type": "text", "text": "..."}')
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return str(part["refusal"])
    if kind == "document":
        return document_text(part)
    if kind == "search_result":
        return search_result_text(part)
    if kind not in _TEXT_KINDS:
        return other(kind)
    text = part.get("text")
    if not isinstance(text, str):
        raise ValueError('a content part must be an object like {"type": "text", "text": "..."}')
    return text


def document_text(part: dict[str, object]) -> str:
    """The text of an Anthropic document block. Raises ValueError for a source that is no text."""
    source = part.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if isinstance(source, dict) and kind == "text" and isinstance(source.get("data"), str):
        text: object = source["data"]
    elif isinstance(source, dict) and kind == "content":
        text = join_text(source.get("content"))
    else:
        raise ValueError(f"a document with a source of type {kind!r} is not supported: {TEXT_ONLY}")
    heads = [part[key] for key in ("title", "context") if isinstance(part.get(key), str)]
    return "\n".join(map(str, [*heads, text]))


def search_result_text(part: dict[str, object]) -> str:
    """The text of an Anthropic search result block."""
    heads = [part[key] for key in ("title", "source") if isinstance(part.get(key), str)]
    return "\n".join(map(str, [*heads, join_text(part.get("content") or "")]))


def check_unicode(text: str) -> str:
    """JSON can escape half of a surrogate pair, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"not valid Unicode: a lone surrogate at character {error.start}") from None
    return text


def _refuse(kind: str) -> str:
    raise ValueError(f"a content part of type {kind!r} is not supported: {TEXT_ONLY}")


def _stand_in(kind: str) -> str:
    return f"[{kind} left out: this model reads text only]"
