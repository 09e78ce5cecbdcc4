"""The tokens told of join to the content, whatever else the answer is made of."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from jangtq_coordinator.api.chat.content_logprobs import ContentLogprobs
from jangtq_coordinator.sampling.sampler import TokenLogprobs


def tell(tokens: Sequence[bytes], released: Sequence[tuple[int, str]]) -> list[bytes]:
    """The tokens told of, where after so many tokens that much content leaves."""
    logprobs, fed, told = ContentLogprobs(lambda token: tokens[token]), 0, list[bytes]()
    for at, (count, text) in enumerate(released):
        for token in range(fed, count):
            logprobs.add(token, TokenLogprobs(-1.0))
        fed = count
        matched = logprobs.release(text, last=at == len(released) - 1)
        told += [tokens[token] for token, _ in matched]
    assert [tokens[token] for token, _ in logprobs.logged] == told
    return told


def test_line_breaks_of_the_template_and_the_end_token_are_left_out() -> None:
    tokens = [b"\n\n", b"12", b" = ", b"46", b"[e~["]
    assert tell(tokens, [(1, ""), (2, "12"), (3, " = "), (4, "46"), (5, "")]) == tokens[1:4]


def test_text_that_was_held_back_comes_with_what_lets_it_go() -> None:
    tokens = [b"So", b"<mini", b"mal", b">"]
    assert tell(tokens, [(1, "So"), (2, ""), (3, "<minimal"), (4, ">")]) == tokens


def test_a_stop_string_and_what_follows_is_left_out() -> None:
    assert tell([b"So", b". E", b"ND"], [(1, "So"), (2, ""), (3, "")]) == [b"So"]
    assert tell([b"So. E", b"ND"], [(1, ""), (2, "So")]) == []


def test_characters_of_several_tokens() -> None:
    globe = "🌍".encode()
    tokens = [globe[:1], globe[1:3], globe[3:], b"!"]
    assert tell(tokens, [(1, ""), (2, ""), (3, "🌍"), (4, "!")]) == tokens
    assert tell(tokens[:2], [(1, ""), (2, "\ufffd")]) == tokens[:2]


@given(st.lists(st.text("a\n🌍é", min_size=1), max_size=8), st.lists(st.integers(0, 80), max_size=10))
def test_they_join_to_the_content(pieces: list[str], cuts: list[int]) -> None:
    text = "".join(pieces)
    data = text.encode()
    ends = sorted({*(cut % (len(data) + 1) for cut in cuts), len(data)} - {0})
    tokens = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    whole = [len(data[:end].decode(errors="ignore")) for end in ends]
    released = [(at + 1, text[a:b]) for at, (a, b) in enumerate(zip([0, *whole], whole, strict=False))]
    assert b"".join(tell(tokens, released or [(0, "")])).decode() == text
