"""Token ids to text, one token at a time, never cutting a UTF-8 character."""

import codecs
from collections.abc import Callable, Collection
from functools import cache
from typing import Protocol

from tokenizers.decoders import ByteLevel

from jangtq_coordinator.mlx_lm import TokenizerWrapper


class Detokenizer(Protocol):
    """Holds back only what is not a whole character yet."""

    def feed(self, token: int) -> str: ...

    def finish(self) -> str: ...


class ByteDetokenizer:
    """For byte-level vocabularies: each token is some bytes, and the bytes are UTF-8."""

    def __init__(self, token_bytes: list[bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The whole characters that `token` completes; nothing for an id that the vocabulary lacks."""
        return self._decoder.decode(self._token_bytes[token] if token < len(self._token_bytes) else b"")

    def finish(self) -> str:
        """U+FFFD where the last character stayed incomplete."""
        return self._decoder.decode(b"", final=True)


class MlxDetokenizer:
    """For every other vocabulary: mlx-lm's own."""

    def __init__(self, tokenizer: TokenizerWrapper) -> None:
        self._streaming = tokenizer.detokenizer

    def feed(self, token: int) -> str:
        self._streaming.add_token(token)
        return str(self._streaming.last_segment)

    def finish(self) -> str:
        self._streaming.finalize()
        return str(self._streaming.last_segment)


def detokenizer_factory(tokenizer: TokenizerWrapper, *, keep: Collection[str]) -> Callable[[], Detokenizer]:
    """Makes detokenizers for one vocabulary. Special tokens give no text, except those in `keep`."""
    if not byte_level(tokenizer):
        return lambda: MlxDetokenizer(tokenizer)
    token_bytes = vocabulary_bytes(tokenizer, keep=keep)
    return lambda: ByteDetokenizer(token_bytes)


def byte_level(tokenizer: TokenizerWrapper) -> bool:
    """Whether tokens stand for bytes."""
    return isinstance(tokenizer.backend_tokenizer.decoder, ByteLevel)


def vocabulary_bytes(tokenizer: TokenizerWrapper, *, keep: Collection[str]) -> list[bytes]:
    """The bytes of each token of a byte-level vocabulary, by id."""
    tokens: list[str | None] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    table = [b"" if token is None else _bytes_of(token) for token in tokens]
    for token_id, added in tokenizer.added_tokens_decoder.items():
        hidden = added.special and added.content not in keep
        table[token_id] = b"" if hidden else added.content.encode()
    return table


def token_bytes(tokenizer: TokenizerWrapper, token: int) -> bytes:
    """What one token stands for; special tokens by their names."""
    if (added := tokenizer.added_tokens_decoder.get(token)) is not None:
        return str(added.content).encode()
    if not byte_level(tokenizer):
        return str(tokenizer.decode([token])).encode()
    name: str | None = tokenizer.convert_ids_to_tokens(token)
    return _bytes_of(name or "")


def _bytes_of(token: str) -> bytes:
    values = _byte_of_character()
    if all(character in values for character in token):
        return bytes(values[character] for character in token)
    return token.encode()


@cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's byte-level alphabet: printable bytes stand for themselves, the others follow U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
