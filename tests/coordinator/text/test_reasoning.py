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
from jangtq_coordinator.text.stop_strings import StopStrings, overlap

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
    """The same by a regular expression over the whole text; for openings without line breaks to drop."""
    pieces = []
    channel, rest = opening.channel, text
    while True:
        pattern = r"\n?</think>\n{0,2}" if channel is Channel.REASONING else r"<think>\n?"
        found = re.search(pattern, rest)
        pieces.append(Piece(channel, rest[: found.start()] if found else rest))
        if not found:
            return join_pieces([piece for piece in pieces if piece.text])
        rest = rest[found.end() :]
        channel = Channel.CONTENT if channel is Channel.REASONING else Channel.REASONING


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
        (
            "x<think>y</think>z<think>",
            ANSWERING,
            [("content", "x"), ("reasoning", "y"), ("content", "z")],
        ),
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


def stop(parts: Sequence[str], strings: Sequence[str]) -> tuple[str, bool]:
    scanner = StopStrings(strings)
    text = "".join(scanner.feed(part) for part in parts)
    return text + scanner.finish(), scanner.stopped


@given(st.text(alphabet="abc", max_size=20), st.lists(st.integers(0, 20)), stops)
def test_stop_strings_whatever_the_cut(text: str, places: list[int], strings: list[str]) -> None:
    kept, stopped = stop(cut(text, places), strings)
    ends = [(match.end(), match.start()) for s in strings if (match := re.search(s, text))]
    assert stopped == bool(ends)
    assert kept == (text[: min(ends)[1]] if ends else text)
    assert stop(list(text), strings) == (kept, stopped)


@given(st.text(alphabet="ab", max_size=8), st.text(alphabet="ab", min_size=1, max_size=5))
def test_overlap_is_the_longest_beginning_at_the_end(text: str, pattern: str) -> None:
    lengths = [n for n in range(len(pattern)) if text.endswith(pattern[:n])]
    assert overlap(text, [pattern]) == max(lengths)


class Letters:
    """A detokenizer whose tokens are characters."""

    def feed(self, token: int) -> str:
        return chr(token)

    def finish(self) -> str:
        return ""


def test_an_answer_gives_all_its_certain_text_when_it_stops() -> None:
    text = AnswerText(Letters(), stops=["END"], markers=MARKERS, opening=THINKING)
    pieces = [piece for c in "why</think>so</ENDmore" for piece in text.feed(ord(c))]
    assert text.met_stop == "END"
    assert join_pieces([*pieces, *text.finish()]) == [
        Piece(Channel.REASONING, "why"),
        Piece(Channel.CONTENT, "so</"),
    ]


def test_an_unfinished_marker_is_text_when_the_answer_ends() -> None:
    text = AnswerText(Letters(), stops=["</thinking"], markers=MARKERS, opening=THINKING)
    pieces = [piece for c in "so</thin" for piece in text.feed(ord(c))]
    assert join_pieces([*pieces, *text.finish()]) == [Piece(Channel.REASONING, "so</thin")]
