"""Options stated once: a field of a settings class has flag, help, range and unit; the rest follows.

    batch_size: int = Option("--batch-size", least=1, most=256, help="sequences in a step").default(16)

`add_options` fills a parser from a settings class, `read_options` builds the settings from what was parsed,
and settings check their ranges whenever they are made.
"""

import argparse
import os
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, Field, dataclass, field, fields
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, Final, TypeGuard, TypeVar

from jangtq_proto.errors import ConfigurationError

_KEY: Final = "option"
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
        return {_KEY: self}

    def default(self, value: _Value) -> _Value:
        """The field of a settings class, with its default."""
        return field(default=value, metadata=self.metadata)

    @property
    def range(self) -> str:
        """Such as `0 to 100000 microseconds`; empty without limits."""
        if self.choices:
            return _alternatives(self.choices)
        most = "" if self.most is None else _number(self.most)
        if self.least is not None:
            text = f"{_number(self.least)} to {most}" if most else f"{_number(self.least)} and above"
        elif self.above is not None:
            text = f"above {_number(self.above)}" + (f", up to {most}" if most else "")
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
            fits, shown = self._spans(number), _number(number)
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
            option = each.metadata.get(_KEY)
            if option is not None:
                option.check(getattr(self, each.name))


def add_options(command: argparse.ArgumentParser, *settings: type[Settings]) -> None:
    """Add every option of these classes, under the titles of their groups."""
    stated = [one for each in settings for one in _stated(each)]
    for group in Group:
        members = [one for one in stated if one[0].group is group]
        if members:
            title = command.add_argument_group(group.value)
            for one in members:
                _add(title, *one)


def read_options(given: argparse.Namespace, settings: type[_Settings]) -> _Settings:
    """The settings that a parsed command line asks for. Raises ConfigurationError."""
    values: dict[str, Any] = {}
    for each in fields(typing.cast(Any, settings)):
        option = each.metadata.get(_KEY)
        if option is None and _is_settings(each.type):
            values[each.name] = read_options(given, each.type)
        elif option is not None and hasattr(given, _destination(option)):
            value = getattr(given, _destination(option))
            values[each.name] = tuple(value) if isinstance(value, list) else value
    return settings(**values)


def parse_path(text: str) -> Path:
    """A path with `~` expanded, which shells leave alone in `--model=~/x`. Raises ValueError."""
    if not text:
        raise ValueError("the path is empty")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{text}: no such user, or a user without a home directory") from error


def _stated(settings: type[Settings]) -> Iterator[tuple[Option, Field[Any]]]:
    """The options of a settings class and of the settings in it, with their fields."""
    for each in fields(typing.cast(Any, settings)):
        option = each.metadata.get(_KEY)
        if option is not None:
            yield option, each
        elif _is_settings(each.type):
            yield from _stated(each.type)


def _is_settings(kind: object) -> TypeGuard[type[Settings]]:
    return isinstance(kind, type) and issubclass(kind, Settings)


def _add(group: Any, option: Option, stated: Field[Any]) -> None:
    """One call of add_argument. What is not given stays absent: the settings class has the defaults."""
    kind = _kind(stated.type)
    names = [option.flag, *([option.short] if option.short else [])]
    text = _help(option, stated.default).replace("%", "%%")
    is_flag = option.flag.startswith("-")
    if kind is bool:
        group.add_argument(
            *names,
            action="store_false" if stated.default else "store_true",
            default=argparse.SUPPRESS,
            help=text,
        )
        return
    inherited = os.environ.get(option.variable) if option.variable else None
    group.add_argument(
        *names,
        action="append" if kind is tuple and option.parse is None else "store",
        type=_converter(option, kind),
        default=inherited or argparse.SUPPRESS,
        metavar=_placeholder(option, kind),
        help=text,
        **({"required": stated.default is MISSING and not inherited} if is_flag else {}),
    )


def _kind(declared: Any) -> type:
    """The type that a value is converted to: `int` of `int | None`, `tuple` of `tuple[str, ...]`."""
    alternatives = [one for one in typing.get_args(declared) if one is not type(None)]
    plain = alternatives[0] if type(None) in typing.get_args(declared) else declared
    return typing.cast(type, typing.get_origin(plain) or plain)


def _converter(option: Option, kind: type) -> Callable[[str], object]:
    """From the text to the field's value. Raises ConfigurationError that names option and text."""

    def convert(text: str) -> object:
        try:
            if option.parse is not None:
                return option.parse(text)
            if issubclass(kind, Enum):
                return kind(text)
            if kind in (int, float):
                return _scaled(text, kind, option.unit)
            return parse_path(text) if kind is Path else text
        except ValueError as error:
            reason = _reason(option, kind) or str(error)
            raise ConfigurationError(f"{option.flag} {text!r}: {reason}") from error

    return convert


def _scaled(text: str, kind: type, unit: Unit) -> int | float:
    if kind is int and unit.size == 1:
        return int(text)
    number = float(text) * unit.size
    if kind is float:
        return number
    if number - number != 0:
        raise ValueError
    return int(number)


def _reason(option: Option, kind: type) -> str:
    if issubclass(kind, Enum):
        return f"allowed are {_alternatives([one.value for one in kind])}"
    if kind in (int, float):
        whole = "a whole number" if kind is int and option.unit.size == 1 else "a number"
        return f"it must be {whole}" + (f", allowed are {option.range}" if option.range else "")
    return ""


def _placeholder(option: Option, kind: type) -> str:
    if option.placeholder:
        return option.placeholder
    choices = tuple(kind) if issubclass(kind, Enum) else option.choices
    if choices:
        return "{" + ",".join(map(str, choices)) + "}"
    if kind in (Path, str):
        return "FILE" if kind is Path else "TEXT"
    return option.unit.placeholder


def _help(option: Option, default: object) -> str:
    """The option's help, its range, and what happens without it."""
    notes = [option.range] if option.most is not None else []
    if option.otherwise:
        notes.append(f"default: {option.otherwise}")
    elif default is not MISSING and not isinstance(default, bool) and default not in (None, "", ()):
        scaled = default / option.unit.size if isinstance(default, int | float) else default
        notes.append(f"default: {_number(scaled)}")
    return f"{option.help} ({'; '.join(notes)})" if notes else option.help


def _number(value: object) -> str:
    """Without a fraction of zero."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _alternatives(values: Sequence[object]) -> str:
    """`a, b or c`."""
    first, last = map(str, values[:-1]), str(values[-1])
    return f"{', '.join(first)} or {last}" if len(values) > 1 else last


def _destination(option: Option) -> str:
    return option.flag.lstrip("-").replace("-", "_")
