"""Options that are fields of settings: what they are read as, their ranges, and what help says of them."""

import argparse
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from jangtq_proto.errors import ConfigurationError
from jangtq_proto.option_parsing import add_options, parse_path, read_options
from jangtq_proto.options import GIBIBYTES, SECONDS, Group, Option, Settings


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner(Settings):
    size: int | None = Option("--size", unit=GIBIBYTES, above=0, help="how much").default(None)
    cached: bool = Option("--no-cache", help="keep nothing").default(True)


@dataclass(frozen=True)
class Outer(Settings):
    folder: Path = field(metadata=Option("--folder", variable="TEST_FOLDER", help="where").metadata)
    count: int = Option("--count", group=Group.TUNING, least=1, most=9, help="how many").default(4)
    timeout: float = Option("--timeout", unit=SECONDS, above=0, most=60, help="how long").default(2.0)
    colour: Colour = Option("--colour", help="of 100 % which").default(Colour.RED)
    names: tuple[str, ...] = Option("--name", help="again and again").default(())
    inner: Inner = Inner()
    internal: int = 7


def read(*arguments: str) -> Outer:
    parser = argparse.ArgumentParser()
    add_options(parser, Outer)
    return read_options(parser.parse_args(arguments), Outer)


def test_what_is_not_given_has_the_default_of_its_field() -> None:
    assert read("--folder", "x") == Outer(Path("x"))


def test_texts_become_what_the_fields_hold() -> None:
    line = ["--folder=~/x", "--count", "9", "--timeout", "0.5", "--colour", "blue", "--no-cache"]
    line += ["--size", "1.5", "--name", "a", "--name", "b"]
    inner = Inner(3 * 2**29, cached=False)
    assert read(*line) == Outer(Path.home() / "x", 9, 0.5, Colour.BLUE, ("a", "b"), inner)


def test_a_variable_stands_for_a_missing_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_FOLDER", "~/y")
    assert read().folder == Path.home() / "y"
    assert read("--folder", "z").folder == Path("z")
    monkeypatch.setenv("TEST_FOLDER", "")
    with pytest.raises(SystemExit):
        read()


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--count", "0", "--count 0: allowed are 1 to 9"),
        ("--count", "x", "--count 'x': it must be a whole number, allowed are 1 to 9"),
        ("--timeout", "0", "--timeout 0: allowed are above 0, up to 60 seconds"),
        ("--timeout", "nan", "--timeout nan: allowed are above 0, up to 60 seconds"),
        ("--size", "inf", "--size 'inf': it must be a number, allowed are above 0 GiB"),
        ("--size", "-1", "--size -1: allowed are above 0 GiB"),
        ("--colour", "green", "--colour 'green': allowed are red or blue"),
        ("--folder", "", "--folder '': the path is empty"),
        ("--folder", "~nobody-of-this-name/x", "no such user"),
    ],
)
def test_a_value_that_cannot_be_names_option_value_and_range(option: str, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read("--folder", "x", option, text)


def test_settings_made_in_code_are_checked_alike() -> None:
    with pytest.raises(ConfigurationError, match="--count 10: allowed are 1 to 9"):
        Outer(Path(), count=10)


def test_help_says_range_default_and_group(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Outer)
    parser.print_help()
    shown = " ".join(capsys.readouterr().out.split())
    assert "tuning: --count N how many (1 to 9; default: 4)" in shown
    assert "--timeout SECONDS how long (above 0, up to 60 seconds; default: 2)" in shown
    assert "--colour {red,blue} of 100 % which (default: red)" in shown
    assert "--size GIB how much --no-cache" in shown


def test_paths_expand_their_home() -> None:
    assert parse_path("~") == Path.home()
