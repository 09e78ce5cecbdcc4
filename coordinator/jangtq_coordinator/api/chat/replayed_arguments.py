"""The arguments of an earlier call, as far as they can be read: what was given out is taken back."""

import json
from typing import Final

from pydantic_core import from_json

from jangtq_coordinator.text.tool_arguments import parse_json

RAW = "arguments"
"""The one member of an object that stands for a text which is no object."""
_DECODER: Final = json.JSONDecoder()


def read_arguments(given: object) -> object:
    """The object that a call's arguments stand for.

    Empty text and null are {}; of a JSON object that was cut off, the members that are there; any other text
    is the value of one member, so that the model sees what it wrote.
    """
    if given is None or isinstance(given, dict):
        return given or {}
    if not isinstance(given, str):
        return {RAW: given}
    text = given.strip()
    if text in ("", "null"):
        return {}
    value = _json_of(text)
    return value if isinstance(value, dict) else {RAW: given}


def _json_of(text: str) -> object:
    """The value of a JSON text, whole or cut off; None of any other."""
    try:
        return parse_json(text)
    except ValueError:
        return None if _is_more_than_one(text) else _json_of_cut(text)


def _is_more_than_one(text: str) -> bool:
    """Whether a whole value stands at the beginning, so that nothing was cut off from it."""
    try:
        _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _json_of_cut(text: str) -> object:
    try:
        value = from_json(text, allow_partial="trailing-strings", allow_inf_nan=False)
        json.dumps(value, allow_nan=False)
    except ValueError:
        return None
    return value
