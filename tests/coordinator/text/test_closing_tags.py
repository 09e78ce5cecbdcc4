"""End tags that close nothing leave an answer at its end, however it is cut; all other text stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.text.closing_tags import ClosingTags

CALL_END = "</parameter>\n</invoke>\n</minimax:tool_call>"


def read(*parts: str) -> str:
    tags = ClosingTags()
    return "".join(map(tags.feed, parts)) + tags.finish()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (f"A magnet attracts{CALL_END}", "A magnet attracts"),
        ("391.</think>", "391."),
        ("</think>", ""),
        ("a </think> b", "a </think> b"),
        ("a </thin", "a </thin"),
        ("a < b", "a < b"),
        ("Use <think> and </think>", "Use <think> and </think>"),
        ("`</think>`", "`</think>`"),
        ("</div></think>", "</div>"),
    ],
)
def test_only_what_ends_an_answer_and_closes_nothing_goes(written: str, shown: str) -> None:
    assert read(written) == shown
    assert read(*written) == shown


@given(
    st.lists(
        st.sampled_from(["a", " ", "\n", "<", "</think>", "</inv", "oke>", "<invoke", CALL_END]), max_size=9
    )
)
def test_cuts_change_nothing(parts: list[str]) -> None:
    assert read(*parts) == read("".join(parts)) == read(*"".join(parts))


def test_text_goes_on_at_once() -> None:
    tags = ClosingTags()
    assert tags.feed("Hello <b>, ") == "Hello <b>, "
    assert tags.feed("you </th") == "you "
    assert tags.feed("ere") == "</there"
    assert tags.feed("</think>") == ""
    assert tags.release() == "</think>"
