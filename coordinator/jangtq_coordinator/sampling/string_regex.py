"""What a JSON schema demands of a string, as llguidance's regexes. Knows no tools and no tokens."""

import re
from collections.abc import Mapping
from typing import Final

from llguidance import LLMatcher

_LONGEST: Final = 1000
"""Counting further takes llguidance more steps than it allows."""
_PLACES: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
"""Escaped characters and classes of characters, each as one."""
_DATE: Final = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME: Final = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[-+]([01][0-9]|2[0-3]):[0-5][0-9])"
_OCTET: Final = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_FORMATS: Final[Mapping[str, str]] = {
    "date": f"/{_DATE}/",
    "time": f"/{_TIME}/",
    "date-time": f"/{_DATE}T{_TIME}/",
    "uuid": "/[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}/",
    "ipv4": rf"/({_OCTET}\.){{3}}{_OCTET}/",
    "email": r"/[A-Za-z0-9._%+-]{1,64}@([A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,63}/",
}


def text_limits(schema: object) -> list[str]:
    """Regexes that hold for the whole text, with their slashes; none for what they cannot say.

    So for lookarounds, back references, anchors within a pattern, and lengths beyond a thousand characters.
    """
    if not isinstance(schema, Mapping) or schema.get("type") != "string":
        return []
    limits = [
        _length(schema.get("minLength"), schema.get("maxLength")),
        _pattern(schema.get("pattern")),
        _FORMATS.get(str(schema.get("format"))),
    ]
    return [limit for limit in limits if limit is not None and _is_understood(limit)]


def _length(least: object, most: object) -> str | None:
    least = least if isinstance(least, int) and 0 < least <= _LONGEST else 0
    most = most if isinstance(most, int) and least <= most <= _LONGEST else ""
    return f"/(?s:.{{{least},{most}}})/" if least or most != "" else None


def _pattern(pattern: object) -> str | None:
    """Patterns are searched for, so that what they do not anchor may stand anywhere."""
    if not isinstance(pattern, str):
        return None
    places: list[str] = _PLACES.findall(pattern)
    starts, ends = places[:1] == ["^"], places[-1:] == ["$"]
    body = places[starts : len(places) - ends]
    if "^" in body or "$" in body or ((starts or ends) and _has_outer_choice(body)):
        return None
    whole = f"{'' if starts else '(?s:.*)'}(?:{''.join(body)}){'' if ends else '(?s:.*)'}"
    return f"/{_in_slashes(whole)}/"


def _has_outer_choice(places: list[str]) -> bool:
    depth = 0
    for place in places:
        depth += (place == "(") - (place == ")")
        if place == "|" and depth == 0:
            return True
    return False


def _in_slashes(pattern: str) -> str:
    return re.sub(r"\\.|[/\n]", lambda found: {"/": r"\/", "\n": r"\n"}.get(found[0], found[0]), pattern)


def _is_understood(limit: str) -> bool:
    return not LLMatcher.validate_grammar(f"start: text\ntext: {limit}\n")
