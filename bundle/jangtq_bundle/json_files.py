"""Strict reading of JSON that a stranger may have written. Knows nothing of what the members mean."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jangtq_bundle.tensors import read_bytes
from jangtq_proto.errors import BundleError

MOST_BYTES: Final = 256 * 1024 * 1024
"""The index of a one-by-one bundle with 140,000 tensors takes 20 MB."""


def read_json_object(path: Path, source: str) -> Mapping[str, object]:
    """One JSON object from a file that errors call `source`. Raises BundleError for anything else."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise BundleError(f"{source}: {size} bytes, at most {MOST_BYTES} are allowed")
    return parse_json_object(read_bytes(path, offset=0, length=size), source)


def parse_json_object(data: bytes, source: str) -> Mapping[str, object]:
    """The same from bytes. An object that names a member twice is refused."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise BundleError(f"{source}: the JSON is nested too deeply") from None
    except ValueError as error:
        raise BundleError(f"{source}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise BundleError(f"{source}: found a JSON {type(value).__name__}, expected an object")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"the name {name[:200]!r} stands twice in one object")
        members[name] = value
    return members


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


@dataclass(frozen=True)
class Fields:
    """The members of one JSON object, each asked for by name, type and bounds.

    Every method raises BundleError that names the source, the member, what was found and what is allowed.
    """

    source: str
    members: Mapping[str, object]

    def has(self, name: str) -> bool:
        return self.members.get(name) is not None

    def integer(self, name: str, *, least: int = 1, most: int = 2**31 - 1, default: int | None = None) -> int:
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(name, f"an integer from {least} to {most}")
        return value

    def number(self, name: str) -> float:
        """A finite number greater than zero."""
        value = self._get(name, None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, "a number greater than 0")
        if not 0 < value <= 1e300 or not math.isfinite(value):
            raise self._wrong(name, "a number greater than 0")
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def text(self, name: str, *, default: str | None = None) -> str:
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def require(self, name: str, expected: str, *, default: str | None = None) -> None:
        """Refuse anything but the expected text."""
        if self._get(name, default) != expected:
            raise self._wrong(name, repr(expected))

    def child(self, name: str) -> "Fields":
        value = self._get(name, None)
        if not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return Fields(f"{self.source}: {name}", value)

    def _get(self, name: str, default: object) -> object:
        value = self.members.get(name)
        return default if value is None else value

    def _wrong(self, name: str, expected: str) -> BundleError:
        if not self.has(name):
            return BundleError(f"{self.source}: {name} is missing, expected {expected}")
        found = repr(self.members[name])
        return BundleError(f"{self.source}: {name} is {found[:80]}, expected {expected}")
