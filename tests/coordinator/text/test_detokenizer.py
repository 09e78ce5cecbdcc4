"""Tokens to text: characters stay whole, special tokens stay silent."""

from hypothesis import given
from hypothesis import strategies as st

from jangtq_bundle.byte_tokenizer import VOCABULARY_SIZE, token_id
from jangtq_coordinator.text.detokenizer import MlxDetokenizer, detokenizer_factory, vocabulary_bytes
from tests.support.tiny_model import load_tiny_tokenizer

MAKE = detokenizer_factory(load_tiny_tokenizer(), keep=())


def feed_all(tokens: list[int]) -> list[str]:
    detokenizer = MAKE()
    return [*map(detokenizer.feed, tokens), detokenizer.finish()]


def encode(text: str) -> list[int]:
    tokens: list[int] = load_tiny_tokenizer().encode(text, add_special_tokens=False)
    return tokens


@given(st.text(max_size=30))
def test_text_comes_back_character_by_character(text: str) -> None:
    parts = feed_all(encode(text))
    assert "".join(parts) == text
    assert all("\ufffd" not in part for part in parts) or "\ufffd" in text


@given(st.lists(st.integers(0, 255), max_size=30))
def test_any_bytes_come_out_as_python_decodes_them(tokens: list[int]) -> None:
    table = vocabulary_bytes(load_tiny_tokenizer(), keep=())
    whole = b"".join(table[token] for token in tokens)
    assert "".join(feed_all(tokens)) == whole.decode("utf-8", "replace")


def test_every_byte_is_in_the_vocabulary() -> None:
    table = vocabulary_bytes(load_tiny_tokenizer(), keep=())
    assert len(table) == VOCABULARY_SIZE
    assert {entry for entry in table if len(entry) == 1} == {bytes([value]) for value in range(256)}


def test_control_tokens_are_silent_and_markup_is_not() -> None:
    tokens = encode("a<think>b[e~[c")
    assert "".join(feed_all(tokens)) == "a<think>bc"
    keeping = detokenizer_factory(load_tiny_tokenizer(), keep=("[e~[",))()
    assert keeping.feed(token_id("[e~[")) == "[e~["


def test_ids_beyond_the_vocabulary_are_silent() -> None:
    assert feed_all([VOCABULARY_SIZE + 7]) == ["", ""]


def test_other_vocabularies_use_mlx_lms_detokenizer() -> None:
    detokenizer = MlxDetokenizer(load_tiny_tokenizer())
    parts = [*map(detokenizer.feed, encode("Héllo wörld")), detokenizer.finish()]
    assert "".join(parts) == "Héllo wörld"
