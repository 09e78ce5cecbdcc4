"""What a mistaken command line answers: the error, what was probably meant, one line of usage."""

from dataclasses import dataclass, field

import pytest

from jangtq_proto.command_line import Command, Program
from jangtq_proto.options import Option, Settings


@dataclass(frozen=True)
class Greeting(Settings):
    name: str = field(metadata=Option("--name", help="whom to greet").metadata)
    times: int = Option("--times", least=1, help="how often").default(1)


def program() -> Program:
    greet = Command("greets", (), (Greeting,), lambda given: None, arguments="--name TEXT")
    return Program("try", {"greet": greet}, description="Tries.", examples=("try greet",))


def test_the_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program().read(["--help"])
    assert "Tries.\n\ncommands:\n  greet  greets\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        program().read(["greet", "--help"])
    assert "\n\nGreets.\n" in capsys.readouterr().out


def test_a_command_has_its_settings() -> None:
    name, given = program().read(["greet", "--name", "a -- b"])
    assert (name, given[Greeting]) == ("greet", Greeting("a -- b"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("greet --nmae x", "try greet: unknown option --nmae; did you mean --name?"),
        ("greet --na x", "try greet: unknown option --na; did you mean --name?"),
        ("greet --name x --verbosity=9", "try greet: unknown option --verbosity"),
        ("greet --name", "try greet: --name: expected one argument"),
        ("greet", "try greet: the following arguments are required: --name"),
        ("greet --name x --times 0", "try greet: --times 0: allowed are 1 and above"),
        ("greet --name x more", "try greet: unrecognized arguments: more"),
        ("great", "try: unknown command great; did you mean greet?"),
        ("sing", "try: unknown command sing"),
        ("", "try: name a command: greet"),
        ("--versoin", "try: unknown option --versoin; did you mean --version?"),
    ],
)
def test_the_error_comes_first_then_one_line_of_usage(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program().read(line.split())
    first, usage, *more = capsys.readouterr().err.splitlines()
    assert (ended.value.code, first, more) == (2, message, [])
    assert usage.startswith(f"usage: {message.split(':')[0]} ") and "--help" in usage


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program().read(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("try 0.")
