"""Options stated once: a field of a settings class has flag, help, range and unit; the rest follows.

    batch_size: int = Option("--batch-size", least=1, most=256, help="sequences in a step").default(16)

`option_parsing` fills a parser from a settings class and builds the settings from what was parsed; settings
check their ranges whenever they are made.
"""

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, TypeVar

from jangtq_proto.errors import ConfigurationError

OPTION_KEY: Final = "option"
_Value = TypeVar("_Value")
_Settings = TypeVar("_Settings", bound="Settings")


class Group(StrEnum):
    """The titles that `--help` sorts options under, in this order."""

    MODEL = "model"
    CLUSTER = "cluster"
    API = "API"
    TUNING = "tuning"
    OTHER = "other options"


@dataclass(frozen=True)
class Unit:
    """What a number counts: its placeholder, its name in messages, and its size in the field's unit."""

    placeholder: str
    name: str = ""
    size: int = 1


NUMBER: Final = Unit("N")
SECONDS: Final = Unit("SECONDS", "seconds")
MILLISECONDS: Final = Unit("MS", "milliseconds")
MICROSECONDS: Final = Unit("US", "microseconds")
GIGABYTES: Final = Unit("GB", "GB", 10**9)
GIBIBYTES: Final = Unit("GIB", "GiB", 2**30)
DAY_SECONDS: Final = 86_400


@dataclass(frozen=True)
class Option:
    """One option; without dashes `flag` names a positional argument.

    otherwise: what happens without it, where its default value does not say so.
    variable: the environment variable that holds its default.
    least, above (exclusive), most: its range, in its unit.
    parse: makes the field's value of the text, where the field is no number, path, text, enum or bool.
    """

    flag: str
    _: KW_ONLY
    help: str
    group: Group = Group.OTHER
    short: str = ""
    placeholder: str = ""
    otherwise: str = ""
    variable: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    unit: Unit = NUMBER
    choices: tuple[object, ...] = ()
    parse: Callable[[str], object] | None = None

    @property
    def metadata(self) -> Mapping[str, "Option"]:
        """For `field(metadata=...)` of a field that must be given."""
        return {OPTION_KEY: self}

    def default(self, value: _Value) -> _Value:
        """The field of a settings class, with its default."""
        return field(default=value, metadata=self.metadata)

    @property
    def range(self) -> str:
        """Such as `0 to 100000 microseconds`; empty without limits."""
        if self.choices:
            return alternatives(self.choices)
        most = "" if self.most is None else number_text(self.most)
        if self.least is not None:
            text = f"{number_text(self.least)} to {most}" if most else f"{number_text(self.least)} and above"
        elif self.above is not None:
            text = f"above {number_text(self.above)}" + (f", up to {most}" if most else "")
        else:
            return ""
        return f"{text} {self.unit.name}".strip()

    def check(self, value: object) -> None:
        """Raises ConfigurationError for a value of the field that is out of range."""
        if value is None or not self.range:
            return
        if self.choices:
            fits, shown = value in self.choices, str(value)
        else:
            assert isinstance(value, int | float)
            number = value / self.unit.size if self.unit.size != 1 else value
            fits, shown = self._spans(number), number_text(number)
        if not fits:
            raise ConfigurationError(f"{self.flag} {shown}: allowed are {self.range}")

    def _spans(self, number: float) -> bool:
        """False for NaN, too."""
        return (
            (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.most is None or number <= self.most)
            and number == number
        )


class Settings:
    """Base of frozen dataclasses whose fields are options; settings among their fields are part of them."""

    def __post_init__(self) -> None:
        for each in fields(typing.cast(Any, self)):
            option = each.metadata.get(OPTION_KEY)
            if option is not None:
                option.check(getattr(self, each.name))


def number_text(value: object) -> str:
    """Without a fraction of zero."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def alternatives(values: Sequence[object]) -> str:
    """`a, b or c`."""
    first, last = map(str, values[:-1]), str(values[-1])
    return f"{', '.join(first)} or {last}" if len(values) > 1 else last
