"""Reading tool calls out of an answer: the cut of the text never changes the result."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jangtq_coordinator.text.reasoning import (
    Channel,
    ChannelSplitter,
    Opening,
    Piece,
    ReasoningMarkers,
    join_pieces,
)
from jangtq_coordinator.text.tool_calls import CallStep, ToolBlock

ANSWERING = Opening(Channel.CONTENT)

# Rich in tags, their parts and what may stand between them.
answers = st.lists(
    st.sampled_from(
        [
            "\n<minimax:tool_call>\n",
            "<minimax:tool_call>",
            '<invoke name="f">\n',
            '<parameter name="x">',
            "</parameter>\n",
            "</invoke>\n",
            "</minimax:tool_call>",
            "</think>\n\n",
            "<think>",
            "<invoke name=",
            "</",
            '">',
            "\n",
            " a",
            "é",
        ]
    ),
    max_size=16,
).map("".join)


def block(*lines: str) -> str:
    return "\n".join(("<minimax:tool_call>", *lines, "</minimax:tool_call>"))


def call(name: str, **parameters: str) -> str:
    values = (f'<parameter name="{key}">{value}</parameter>' for key, value in parameters.items())
    return "\n".join((f'<invoke name="{name}">', *values, "</invoke>"))


THINKING = Opening(Channel.REASONING)


def split(
    parts: Sequence[str], opening: Opening = ANSWERING, *, tool_calls: bool = True, limit: bool = False
) -> list[Piece]:
    splitter = ChannelSplitter(ReasoningMarkers(), opening, tool_calls=tool_calls)
    pieces = [piece for part in parts for piece in splitter.feed(part)]
    return join_pieces([*pieces, *splitter.finish(cut=limit)])


def invoke(name: str, *parameters: tuple[str, str], whole: bool = True) -> list[Piece]:
    """The parts of a call."""
    pieces = [Piece(Channel.TOOL, name, CallStep.START)]
    for key, value in parameters:
        pieces.append(Piece(Channel.TOOL, key, CallStep.PARAMETER))
        pieces += [Piece(Channel.TOOL, value, CallStep.VALUE)] if value else []
    return [*pieces, Piece(Channel.TOOL, "", CallStep.END)] if whole else pieces


def calls_of(text: str) -> list[Piece]:
    return [piece for piece in split([text]) if piece.step]


def content_of(text: str) -> str:
    return "".join(piece.text for piece in split([text]) if piece.channel is Channel.CONTENT)


@given(
    answers,
    st.lists(st.integers(0, 400)),
    st.sampled_from([ANSWERING, Opening(Channel.REASONING), Opening(Channel.REASONING, newlines=1)]),
)
@example("a\n" + block(call("f", x="</invoke>")) + "\nb", [], ANSWERING)
def test_the_cut_changes_nothing(text: str, places: list[int], opening: Opening) -> None:
    whole = split([text], opening)
    ends = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    assert split([text[start:end] for start, end in zip(ends, ends[1:], strict=False)], opening) == whole
    assert split(list(text), opening) == whole


def test_every_single_cut_of_a_long_answer() -> None:
    text = "why\n</think>\n\nSo:\n" + block(call("f", x=" 1\n", y="</parameter>"), call("g")) + "\nDone."
    whole = split([text], Opening(Channel.REASONING))
    assert whole == [
        Piece(Channel.REASONING, "why"),
        Piece(Channel.CONTENT, "So:"),
        *invoke("f", ("x", " 1\n"), ("y", "</parameter>")),
        *invoke("g"),
        Piece(Channel.CONTENT, "\nDone."),
    ]
    for place in range(len(text)):
        assert split([text[:place], text[place:]], Opening(Channel.REASONING)) == whole


@given(answers)
def test_where_no_call_begins_the_text_is_unchanged(text: str) -> None:
    text = text.replace("<think>", "")
    if not calls_of(text):
        (kept,) = split([text]) or [Piece(Channel.CONTENT, "")]
        rest = text.removeprefix(kept.text)
        assert kept.channel is Channel.CONTENT and text.startswith(kept.text)
        # Only the beginning of a call that the end cuts off is dropped.
        assert not rest or ToolBlock().feed(rest.partition("tool_call>")[2]) == []


def test_a_value_comes_as_soon_as_it_is_certain() -> None:
    block, given = ToolBlock(), list[str]()
    for text in (
        '<invoke name="f">\n<parameter name="x">a',
        "b</para",
        "b</parameter>\n</inv",
        "o</parameter>\n",
    ):
        given.append("".join(part.text for part in block.feed(text) if part.step is CallStep.VALUE))
    assert given == ["a", "b", "</parab", "</parameter>\n</invo"]
    assert [part.step for part in block.feed("</invoke>\n</minimax:tool_call> x")] == [CallStep.END]
    assert block.rest == " x"


@pytest.mark.parametrize(
    "end", ["", "</para", "</parameter>", "</parameter>\n</invoke", "</parameter>\n<param"]
)
def test_nothing_of_a_call_that_is_cut_off_becomes_content(end: str) -> None:
    text = '<minimax:tool_call>\n<invoke name="f">\n<parameter name="x"><think>' + block(call("g"))[:-1]
    pieces = split([text + end], limit=True)
    value = text.partition('"x">')[2] + ("</para" if end == "</para" else "")
    assert pieces == invoke("f", ("x", value), whole=False)


values = st.text(max_size=20) | st.lists(
    st.sampled_from(["</parameter>", "</invoke>", "\n", " ", "null", "</minimax:tool_call>", "<think>", "x"])
).map("".join)


def is_clear(value: str) -> bool:
    """Whether no tags inside it look like the end of the call."""
    packed = "".join((value + "</parameter>").split())
    ends = ("</parameter></minimax:tool_call>", "</parameter></invoke></minimax:tool_call>")
    return not any(end in packed for end in ends) and not packed.endswith("</parameter></invoke></parameter>")


@given(st.dictionaries(st.sampled_from("xyz"), values.filter(is_clear), max_size=3))
def test_values_come_out_exactly_as_written(parameters: dict[str, str]) -> None:
    assert calls_of(block(call("f", **parameters))) == invoke("f", *parameters.items())


@pytest.mark.parametrize(
    "value",
    [
        "</parameter>",
        "</parameter>\n</invoke>",
        "</invoke>\n</minimax:tool_call>",
        '<parameter name="y">',
        "\tindented\n\n",
        "",
    ],
)
def test_tags_inside_a_value(value: str) -> None:
    assert calls_of(block(call("f", x=value))) == invoke("f", ("x", value))


@pytest.mark.parametrize(
    "text",
    [
        "a\n<minimax:tool_call>\n</minimax:tool_call> b",
        "<minimax:tool_call>\nnothing</minimax:tool_call>",
        '<minimax:tool_call>\n<invoke name="f">\n<parameter name="x\n">1</parameter>',
        '<minimax:tool_call>\n<invoke name="f">\nx = 1\n</invoke>\n</minimax:tool_call>',
        '<minimax:tool_call>\n<invoke name="f\n">\n</invoke>\n</minimax:tool_call>',
        '<minimax:tool_call>\n<invoke name="">\n</invoke>\n</minimax:tool_call>',
    ],
)
def test_what_is_no_call_is_given_back(text: str) -> None:
    assert calls_of(text) == []
    assert content_of(text) == text


def test_a_call_after_a_broken_block_is_found() -> None:
    assert calls_of("<minimax:tool_call>oops\n" + block(call("f"))) == invoke("f")


@pytest.mark.parametrize("end", ["", "\n", "\n</minimax:tool_c"])
def test_a_whole_call_counts_without_the_end_of_its_block(end: str) -> None:
    text = "<minimax:tool_call>\n" + call("f", x="1") + end
    assert calls_of(text) == invoke("f", ("x", "1"))
    assert content_of(text) == ""


def test_a_call_cut_off_after_a_whole_one() -> None:
    text = "<minimax:tool_call>\n" + call("f") + '\n<invoke name="g">\n<parameter name="x">1'
    assert split([text], limit=True) == invoke("f") + invoke("g", ("x", "1"), whole=False)
    assert split([text]) == invoke("f") + invoke("g", ("x", "1"))


@pytest.mark.parametrize(
    "end", ["", "\n", '\n<invoke name="f', '\n<invoke name="f">\n', '\n<invoke name="f">\n<para']
)
def test_the_beginning_of_a_call_that_is_cut_off_is_dropped(end: str) -> None:
    assert split([f"a\n<minimax:tool_call>{end}"], limit=True) == [Piece(Channel.CONTENT, "a")]


def test_a_parameter_without_a_name_is_part_of_the_value_before() -> None:
    value = '1</parameter>\n<parameter name="">2</parameter>\n<parameter name="a\n">'
    assert calls_of(block(call("f", x=value))) == invoke("f", ("x", value))


@pytest.mark.parametrize(
    "text",
    [
        '<invoke name="f">\n<parameter name="x">1</parameter>\n</minimax:tool_call>',
        '<invoke name="f">\n<parameter name="x">1</parameter>',
        '<invoke name="f">\n<parameter name="x">1\n</invoke>\n</minimax:tool_call>',
        '<invoke name="f">\n<parameter name="x">1\n</invoke>',
        '<invoke name="f">\n<parameter name="x">1',
        "<invoke name='f'>\n<parameter name='x'>1</parameter>\n</invoke>",
        "<invoke name=f>\n<parameter name=x >1</parameter>\n</invoke>\n</minimax:tool_call>\n",
        '<invoke name="f>\n<parameter name=x">1</parameter>\n</invoke>\n</minimax:tool_call>',
        '<invoke name="f" >\n<parameter name="x" >1</parameter></invoke></minimax:tool_call>',
    ],
)
def test_badly_closed_calls_are_read_as_they_are_meant(text: str) -> None:
    text = f"<minimax:tool_call>\n{text}"
    assert calls_of(text) == invoke("f", ("x", "1"))
    assert content_of(text).strip() == ""
    assert split(list(text)) == split([text])


def test_a_missing_end_does_not_swallow_the_next_call() -> None:
    first = '<minimax:tool_call>\n<invoke name="f">\n<parameter name="x">1</parameter>\n'
    both = invoke("f", ("x", "1")) + invoke("g", ("y", "2"))
    assert split([first + call("g", y="2") + "\n</minimax:tool_call>"]) == both
    assert split([first + "</invoke>\n" + block(call("g", y="2"))]) == both
    assert split(['<minimax:tool_call>\n<invoke name="f">\n' + call("g")]) == invoke("f") + invoke("g")


def test_text_within_a_block_is_content_and_its_end_is_hidden() -> None:
    text = "<minimax:tool_call>\n" + call("f", x="1") + "\nDone.\n</minimax:tool_call> Bye."
    assert split([text]) == [*invoke("f", ("x", "1")), Piece(Channel.CONTENT, "\nDone. Bye.")]
    assert split(list(text)) == split([text])
    assert split([text], tool_calls=False) == [Piece(Channel.CONTENT, text)]


@pytest.mark.parametrize("end", ["", "\n</think>\n\n", "</think>\n\nSo.", "\nSo.</think>"])
def test_a_call_ends_the_reasoning(end: str) -> None:
    text = "why\n" + block(call("f", x="1")) + end
    pieces = split([text], THINKING)
    assert pieces[:-1] == [Piece(Channel.REASONING, "why"), *invoke("f", ("x", "1"))][: len(pieces) - 1]
    assert [piece for piece in pieces if piece.step] == invoke("f", ("x", "1"))
    content = "".join(piece.text for piece in pieces if piece.channel is Channel.CONTENT)
    assert content.strip() == ("So." if "So." in end else "")
    assert split(list(text), THINKING) == pieces


@pytest.mark.parametrize(
    "mention",
    [
        "<minimax:tool_call>",
        "<minimax:tool_call> and </minimax:tool_call>",
        '<minimax:tool_call>\n<invoke name="f">\nx',
        "<minimax:tool_call>\n<invoke",
    ],
)
def test_a_mere_mention_stays_reasoning(mention: str) -> None:
    for text in (f"I may write {mention}", f"I may write {mention} there.</think>Done."):
        pieces = split([text], THINKING)
        assert [p.text for p in pieces if p.channel is Channel.REASONING] == [text.partition("</think>")[0]]
        assert [p.text for p in pieces if p.channel is not Channel.REASONING] == ["Done."] * ("Done" in text)
        assert split(list(text), THINKING) == pieces


def test_blocks_in_the_reasoning_are_reasoning_where_no_tools_are_offered() -> None:
    text = block(call("f"))
    assert split([text], THINKING, tool_calls=False) == [Piece(Channel.REASONING, text)]
