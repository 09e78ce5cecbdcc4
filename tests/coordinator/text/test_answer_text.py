"""Text of an answer: what is certain leaves at once, the rest at the end."""

from collections.abc import Sequence

import pytest
from hypothesis import strategies as st

from jangtq_coordinator.text.answer_text import AnswerText
from jangtq_coordinator.text.reasoning import (
    Channel,
    Opening,
    Piece,
    ReasoningMarkers,
    join_pieces,
)
from jangtq_coordinator.text.stop_strings import StopStrings

MARKERS = ReasoningMarkers()


THINKING = Opening(Channel.REASONING)


ANSWERING = Opening(Channel.CONTENT)


stops = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3)


def stop(parts: Sequence[str], strings: Sequence[str]) -> tuple[str, bool]:
    scanner = StopStrings(strings)
    text = "".join(scanner.feed(part) for part in parts)
    return text + scanner.finish(), scanner.stopped


class Letters:
    """A detokenizer whose tokens are characters."""

    def feed(self, token: int) -> str:
        return chr(token)

    def finish(self) -> str:
        return ""


def read_answer(
    text: str, stops: Sequence[str], opening: Opening | None = THINKING, *, tool_calls: bool = False
) -> tuple[list[Piece], str | None]:
    """An answer of which each character is a token, and the stop string that it met."""
    answer = AnswerText(Letters(), stops=stops, markers=MARKERS, opening=opening, tool_calls=tool_calls)
    pieces: list[Piece] = []
    for character in text:
        pieces += answer.feed(ord(character))
        if answer.met_stop:
            return join_pieces(pieces), answer.met_stop
    return join_pieces([*pieces, *answer.finish()]), answer.met_stop


def test_an_answer_gives_all_its_certain_text_when_it_stops() -> None:
    pieces, met = read_answer("why</think>so</ENDmore", ["END"])
    assert met == "END"
    assert pieces == [Piece(Channel.REASONING, "why"), Piece(Channel.CONTENT, "so</")]


def test_an_unfinished_marker_is_text_when_the_answer_ends() -> None:
    assert read_answer("so</thin", ["</thinking"]) == ([Piece(Channel.REASONING, "so</thin")], None)


@pytest.mark.parametrize(
    ("text", "stop", "content"),
    [
        ("why\n\nso\n</think>\n\n12\n\n13", "\n\n", "12"),
        ("stop here</think>12 here", "here", "12 "),
        ("why</think>\n\n\n\n 12\n", "\n", "\n\n 12"),
        ("</think>12", "</think>", "12"),
        ("why</think>1 2", " ", "1"),
    ],
)
def test_stop_strings_look_at_the_content_only(text: str, stop: str, content: str) -> None:
    pieces, _ = read_answer(text, [stop])
    assert "".join(piece.text for piece in pieces if piece.channel is Channel.CONTENT) == content


def test_stop_strings_see_white_space_where_nothing_was_thought() -> None:
    assert read_answer("\n\nx", ["\n\n"], None) == ([], "\n\n")
    assert read_answer("\n\nx", ["\n\n"], ANSWERING) == ([], "\n\n")


def test_stop_strings_do_not_look_into_calls() -> None:
    call = (
        '<minimax:tool_call>\n<invoke name="f">\n<parameter name="x">a END b</parameter>\n</invoke>\n'
        "</minimax:tool_call>"
    )
    pieces, met = read_answer(f"why</think>E{call}ND END", ["END"], tool_calls=True)
    assert "".join(p.text for p in pieces if p.channel is Channel.CONTENT) == "END " and met == "END"
    assert [p.text for p in pieces if p.channel is Channel.TOOL] == ["f", "x", "a END b", ""]
