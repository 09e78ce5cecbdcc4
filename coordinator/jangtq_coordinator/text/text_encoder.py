"""Text to tokens, by several threads at once, and not at all where it cannot fit. Knows no template."""

from functools import cached_property

from jangtq_coordinator.mlx_lm import TokenizerWrapper
from jangtq_coordinator.text.detokenizer import byte_level
from jangtq_proto.errors import ContextOverflowError


class TextEncoder:
    """Encodes by the native tokenizer alone, which keeps no state between calls and holds no lock."""

    def __init__(self, tokenizer: TokenizerWrapper) -> None:
        self._native = tokenizer.backend_tokenizer
        self._byte_level = byte_level(tokenizer)

    def encode(self, text: str, *, special_tokens: bool = False) -> list[int]:
        """Tokens of a text; `special_tokens` adds those that the tokenizer puts around every text."""
        return list(self._native.encode(text, add_special_tokens=special_tokens).ids)

    def check_length(self, text: str, most_tokens: int) -> None:
        """Raise ContextOverflowError for a text whose bytes alone show that it has more tokens."""
        if self._longest is not None and (least := -(-len(text.encode()) // self._longest)) > most_tokens:
            raise ContextOverflowError.of(prompt_tokens=least, context_length=most_tokens)

    @cached_property
    def _longest(self) -> int | None:
        """Bytes of the longest token; None where tokens do not stand for bytes as they come."""
        if not self._byte_level or self._native.normalizer is not None:
            return None
        added = {token.content for token in self._native.get_added_tokens_decoder().values()}
        lengths = (len(t.encode()) if t in added else len(t) for t in self._native.get_vocab())
        return max(lengths, default=1)
