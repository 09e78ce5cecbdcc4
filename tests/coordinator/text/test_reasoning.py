"""Splitting an answer into reasoning and content: the cut of the text never changes the result."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.text.answer_text import AnswerText
from jangtq_coordinator.text.reasoning import (
    Channel,
    ChannelSplitter,
    Opening,
    Piece,
    ReasoningMarkers,
    join_pieces,
)

MARKERS = ReasoningMarkers()
THINKING = Opening(Channel.REASONING)
ANSWERING = Opening(Channel.CONTENT)

# Rich in markers, their parts and line breaks.
answers = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<", "</", "think", ">", "\n", "\n\n", "a", "é", "</thin", "</thinker>"]
    ),
    max_size=12,
).map("".join)


def cut(text: str, places: Sequence[int]) -> list[str]:
    ends = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in zip(ends, ends[1:], strict=False)]


def split(parts: Sequence[str], opening: Opening) -> list[Piece]:
    splitter = ChannelSplitter(MARKERS, opening)
    return join_pieces([*(piece for part in parts for piece in splitter.feed(part)), *splitter.finish()])


def split_whole(text: str, opening: Opening) -> list[Piece]:
    """The same by regular expressions over the whole text; for openings without line breaks to drop."""
    reasoning, content = "", text
    if opening.channel is Channel.CONTENT and (found := re.match(r"\s*<think>\n?", text)):
        opening, text = THINKING, text[found.end() :]
    if opening.channel is Channel.REASONING:
        found = re.search(r"\n?</think>\n{0,2}", text)
        reasoning, content = (text[: found.start()], text[found.end() :]) if found else (text, "")
    pieces = [Piece(Channel.REASONING, reasoning), Piece(Channel.CONTENT, content)]
    return [piece for piece in pieces if piece.text]


@pytest.mark.parametrize(
    ("text", "opening", "expected"),
    [
        ("why\n</think>\n\nSo.", THINKING, [("reasoning", "why"), ("content", "So.")]),
        ("So.", ANSWERING, [("content", "So.")]),
        ("<think>\nwhy\n</think>\n\nSo.", ANSWERING, [("reasoning", "why"), ("content", "So.")]),
        ("\nwhy", Opening(Channel.REASONING, newlines=1), [("reasoning", "why")]),
        ("why\n\n</think>\n\n\nSo.", THINKING, [("reasoning", "why\n"), ("content", "\nSo.")]),
        ("a < b </thin", THINKING, [("reasoning", "a < b </thin")]),
        ("</think>x</think>", THINKING, [("content", "x</think>")]),
        ("x<think>y</think>z<think>", ANSWERING, [("content", "x<think>y</think>z<think>")]),
        ("y</think>z<think>w</think>", THINKING, [("reasoning", "y"), ("content", "z<think>w</think>")]),
        ("\n <think>\ny</think>z", ANSWERING, [("reasoning", "y"), ("content", "z")]),
        (" <thin", ANSWERING, [("content", " <thin")]),
        ("\n", ANSWERING, [("content", "\n")]),
        ("x\n", THINKING, [("reasoning", "x\n")]),
        ("", THINKING, []),
    ],
)
def test_known_texts(text: str, opening: Opening, expected: list[tuple[str, str]]) -> None:
    assert [(piece.channel.value, piece.text) for piece in split([text], opening)] == expected


@given(answers, st.lists(st.integers(0, 200)), st.sampled_from([THINKING, ANSWERING]))
def test_the_cut_changes_nothing(text: str, places: list[int], opening: Opening) -> None:
    expected = split_whole(text, opening)
    assert split([text], opening) == expected
    assert split(cut(text, places), opening) == expected
    assert split(list(text), opening) == expected


@given(st.text(alphabet="ab\n", max_size=10), st.text(alphabet="ab\n", max_size=10))
def test_the_next_prompt_can_repeat_the_answer(reasoning: str, content: str) -> None:
    """The template writes <think>\\n, the reasoning, \\n</think>\\n\\n and the content."""
    rendered = f"{reasoning}\n</think>\n\n{content}"
    pieces = {piece.channel: piece.text for piece in split(list(rendered), THINKING)}
    assert pieces.get(Channel.REASONING, "") == reasoning
    assert pieces.get(Channel.CONTENT, "") == content


def test_text_leaves_as_soon_as_it_is_certain() -> None:
    splitter = ChannelSplitter(MARKERS, THINKING)
    assert splitter.feed("abc") == [Piece(Channel.REASONING, "abc")]
    assert splitter.feed("d</th") == [Piece(Channel.REASONING, "d")]
    assert splitter.feed("e") == [Piece(Channel.REASONING, "</the")]
    assert splitter.feed("\n</think>x") == [Piece(Channel.CONTENT, "x")]
    assert splitter.channel is Channel.CONTENT


@pytest.mark.parametrize(
    ("prompt", "opening"),
    [
        ("]~b]ai\n<think>\n", THINKING),
        ("]~b]ai\n<think>", Opening(Channel.REASONING, newlines=1)),
        ("]~b]ai\n", ANSWERING),
        ("what is <think>?[e~[\n]~b]ai\n", ANSWERING),
    ],
)
def test_how_an_answer_begins(prompt: str, opening: Opening) -> None:
    assert MARKERS.opening(prompt) == opening


stops = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3)


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


@given(answers, st.lists(st.sampled_from(["\n\n", "a", "think", "é>"]), max_size=2))
def test_an_answer_with_stops_is_the_beginning_of_that_without(text: str, strings: list[str]) -> None:
    whole, _ = read_answer(text, [])
    kept, met = read_answer(text, strings)
    content = "".join(piece.text for piece in whole if piece.channel is Channel.CONTENT)
    found = "".join(piece.text for piece in kept if piece.channel is Channel.CONTENT)
    assert content.startswith(found)
    assert [p for p in kept if p.channel is Channel.REASONING] == [
        p for p in whole if p.channel is Channel.REASONING
    ]
    assert (met is not None) == any(string in content.lstrip() for string in strings)
