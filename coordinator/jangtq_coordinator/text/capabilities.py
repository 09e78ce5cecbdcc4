"""How a model marks up its answers, as `capabilities` of its jang_config.json say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from jangtq_coordinator.text.reasoning import ReasoningMarkers
from jangtq_coordinator.text.tool_calls import BLOCK_END, BLOCK_START
from jangtq_proto.errors import BundleError

_T = TypeVar("_T")

_THINK: Final = ReasoningMarkers("<think>", "</think>")
_REASONING_PARSERS: Final[Mapping[str | None, ReasoningMarkers | None]] = {
    None: None,
    "none": None,
    "qwen3": _THINK,
    "deepseek_r1": _THINK,
    "minimax_m2": _THINK,
}
_TOOL_PARSERS: Final[Mapping[str | None, bool]] = {
    None: False,
    "none": False,
    "minimax": True,
    "minimax_m2": True,
}


@dataclass(frozen=True)
class Capabilities:
    """`markers` surround reasoning, where the model reasons; `calls_tools` is in MiniMax's form."""

    markers: ReasoningMarkers | None = _THINK
    calls_tools: bool = True

    @property
    def markup(self) -> tuple[str, ...]:
        """The texts that mean something in an answer, also where their tokens are special."""
        thinking = (self.markers.start, self.markers.end) if self.markers else ()
        return (*thinking, BLOCK_START, BLOCK_END) if self.calls_tools else thinking


def read_capabilities(directory: Path) -> Capabilities:
    """Those of a model's directory; without a word on them, MiniMax-M2's. Raises BundleError."""
    path = directory / "jang_config.json"
    try:
        given = json.loads(path.read_bytes()).get("capabilities")
        if given is None:
            return Capabilities()
        return Capabilities(
            _parser(_REASONING_PARSERS, "reasoning_parser", given),
            _parser(_TOOL_PARSERS, "tool_parser", given),
        )
    except FileNotFoundError:
        return Capabilities()
    except (OSError, ValueError, AttributeError) as error:
        raise BundleError(f"{path}: capabilities: {error}") from error


def _parser(parsers: Mapping[str | None, _T], key: str, given: Mapping[str, object]) -> _T:
    name = given.get(key)
    if name is None or (isinstance(name, str) and name in parsers):
        return parsers[name]
    known = ", ".join(str(parser) for parser in parsers if parser)
    raise ValueError(f"{key} is {name!r}, known are {known}")
