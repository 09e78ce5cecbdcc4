"""The demo's printing and its calculator."""

import io

import pytest

from jangtq_coordinator.cli.chat_stream import ChunkFunction, ChunkTool
from jangtq_coordinator.cli.demo.script import run_calculator
from jangtq_coordinator.cli.terminal import FoldingPrinter


class Terminal(io.StringIO):
    """Keeps what a terminal is sent."""

    def isatty(self) -> bool:
        return True


def print_answer() -> None:
    printer = FoldingPrinter()
    for piece in ("1 + 1 is", " 2.\n", "So I say it."):
        printer.reasoning(piece)
    for piece in ("", "2", "."):
        printer.content(piece)


def test_reasoning_is_folded_into_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_answer()
    assert capsys.readouterr().out == "> 2 lines of reasoning\n2."


def test_a_terminal_shows_the_newest_line_until_the_reasoning_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "12")
    print_answer()
    shown = terminal.getvalue().replace("\x1b[2m", "").replace("\x1b[0m", "").split("\r\x1b[K")
    assert shown == ["", "> 1 + 1 is", "> 1 + 1 is ", "> So I say ", "> 2 lines of reasoning\n2."]


def test_an_answer_without_reasoning_is_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    printer = FoldingPrinter()
    printer.content("Yes.")
    printer.fold()
    assert capsys.readouterr().out == "Yes."


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ('{"expression": "12 * 7"}', {"result": 84}),
        ('{"expression": "12-7"}', {"result": 5}),
        ('{"expression": " 12 + 7 "}', {"result": 19}),
    ],
)
def test_the_calculator_calculates(arguments: str, result: dict[str, int]) -> None:
    assert run_calculator(arguments) == result


@pytest.mark.parametrize("arguments", ["", "[]", "{}", '{"expression": "2 ** 9"}', '{"expression": "x"}'])
def test_the_calculator_says_what_it_cannot_read(arguments: str) -> None:
    assert "wanted is" in str(run_calculator(arguments)["error"])


def test_pieces_of_a_call_are_joined() -> None:
    first = ChunkTool(index=0, id="a", function=ChunkFunction(name="f", arguments='{"x"'))
    second = ChunkTool(index=0, function=ChunkFunction(arguments=": 1}"))
    function = ChunkFunction(name="f", arguments='{"x": 1}')
    assert first.joined(second) == ChunkTool(index=0, id="a", function=function)
