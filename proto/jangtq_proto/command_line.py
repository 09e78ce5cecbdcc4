"""Command lines that help: grouped options, and errors that come first, with what was probably meant."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import NoReturn, TypeVar, cast

from jangtq_proto.errors import ConfigurationError
from jangtq_proto.option_parsing import add_options, read_options
from jangtq_proto.options import Settings

_Settings = TypeVar("_Settings", bound=Settings)
_DISTRIBUTION = "jangtq-cluster"


class Chosen:
    """The settings that a command line asks for, by their classes."""

    def __init__(self, settings: Iterable[Settings]) -> None:
        self._settings = {type(one): one for one in settings}

    def __getitem__(self, kind: type[_Settings]) -> _Settings:
        return cast(_Settings, self._settings[kind])


class CommandLine(argparse.ArgumentParser):
    """The options of one program, or of one command. They are not abbreviated: later ones may begin alike."""

    def __init__(
        self,
        prog: str,
        *settings: type[Settings],
        description: str,
        examples: Sequence[str],
        arguments: str = "",
    ) -> None:
        """arguments: what the usage shows before [OPTIONS]."""
        super().__init__(
            prog=prog,
            usage=" ".join(filter(None, ("%(prog)s", arguments, "[OPTIONS]"))),
            description=description,
            epilog="\n".join(("examples:", *(f"  {example}" for example in examples))),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._settings = settings
        add_options(self, *settings)

    def read(self, arguments: Sequence[str] | None = None) -> Chosen:
        """Ends the process with status 2 where an option is unknown, missing or not to be used."""
        given = list(sys.argv[1:] if arguments is None else arguments)
        # First, as argparse would name the required option that seems to be missing instead.
        for name in _names(given):
            if name not in self._option_string_actions:
                self.error(f"unknown option {name}{_meant(name, self._option_string_actions)}")
        try:
            parsed = self.parse_args(given)
            return Chosen(read_options(parsed, one) for one in self._settings)
        except ConfigurationError as error:
            self.error(str(error))

    def error(self, message: str) -> NoReturn:
        """The error first, then one line of usage."""
        self.exit(
            2,
            f"{self.prog}: {message.removeprefix('argument ')}\n"
            f"{self.format_usage().strip()} (--help explains them)\n",
        )


@dataclass(frozen=True)
class Command:
    """One command of a program: what it is for, its options, and what runs it.

    run: imports what the command needs, so that no other command waits for it.
    arguments: what its usage shows before [OPTIONS].
    """

    description: str
    examples: Sequence[str]
    settings: tuple[type[Settings], ...]
    run: Callable[[Chosen], None]
    arguments: str = ""


class Program:
    """A program with commands, each of which has options of its own."""

    def __init__(
        self, prog: str, commands: Mapping[str, Command], *, description: str, examples: Sequence[str]
    ) -> None:
        width = max(map(len, commands))
        listed = "\n".join(f"  {name:{width}}  {command.description}" for name, command in commands.items())
        self._line = CommandLine(
            prog,
            description=f"{description}\n\ncommands:\n{listed}",
            examples=examples,
            arguments="COMMAND",
        )
        add_version(self._line)
        self._commands = {name: _line_of(f"{prog} {name}", command) for name, command in commands.items()}

    def read(self, arguments: Sequence[str] | None = None) -> tuple[str, Chosen]:
        """The command's name and its settings. Ends the process for `--help`, and after mistakes."""
        given = list(sys.argv[1:] if arguments is None else arguments)
        name = given[0] if given else ""
        if name.startswith("-"):
            self._line.read(given)
        if not name or name.startswith("-"):
            self._line.error(f"name a command: {', '.join(self._commands)}")
        if name not in self._commands:
            self._line.error(f"unknown command {name}{_meant(name, self._commands)}")
        return name, self._commands[name].read(given[1:])


def _line_of(prog: str, command: Command) -> CommandLine:
    return CommandLine(
        prog,
        *command.settings,
        description=f"{command.description[0].upper()}{command.description[1:]}.",
        examples=command.examples,
        arguments=command.arguments,
    )


class ShowVersion(argparse.Action):
    """--version; the version is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(parser.prog, metadata.version(_DISTRIBUTION))
        parser.exit()


def add_version(line: CommandLine) -> None:
    """--version."""
    line.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and exit")


def _names(given: Iterable[str]) -> Iterable[str]:
    """The options among arguments, without their values."""
    for text in given:
        if text == "--":
            return
        if text.startswith("--") and " " not in text:
            yield text.partition("=")[0]


def _meant(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` for the nearest of the known names, if any is near."""
    names = list(known)
    near = [one for one in names if one.startswith(name)] or difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""
