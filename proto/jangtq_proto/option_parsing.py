"""From settings classes to argparse, and from what it parsed to settings."""

import argparse
import os
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from enum import Enum
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from jangtq_proto.errors import ConfigurationError
from jangtq_proto.options import OPTION_KEY, Group, Option, Settings, Unit, alternatives, number_text

_Settings = TypeVar("_Settings", bound=Settings)


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
        option = each.metadata.get(OPTION_KEY)
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
        option = each.metadata.get(OPTION_KEY)
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
        return f"allowed are {alternatives([one.value for one in kind])}"
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
        notes.append(f"default: {number_text(scaled)}")
    return f"{option.help} ({'; '.join(notes)})" if notes else option.help


def _destination(option: Option) -> str:
    return option.flag.lstrip("-").replace("-", "_")
