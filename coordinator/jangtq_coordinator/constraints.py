"""Answers that follow a grammar, by llguidance's token masks. Knows no HTTP and no batch.

A mask is computed in a thread of its own while the model computes the next logits.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from jangtq_coordinator.detokenize import Detokenizer, byte_level, detokenizer_factory, vocabulary_bytes
from jangtq_coordinator.loaded import LoadedModel
from jangtq_proto.errors import RequestError

Mask = NDArray[np.uint32]


class GrammarConstraint:
    """Leaves an answer free until each of `waits` has stood in its text, one after the other."""

    def __init__(self, matcher: LLMatcher, grammars: "Grammars", waits: Sequence[str] = ()) -> None:
        self._matcher = matcher
        self._grammars = grammars
        self._waits = list(waits)
        self._text = ""
        self._detokenizer = grammars.new_detokenizer()
        self._mask: Future[Mask] = grammars.compute(self._advance, [])

    def mask(self) -> Mask | None:
        """The tokens that may come next; None while all may. Raises RequestError."""
        return None if self._waits else self._mask.result()

    def take(self, token: int) -> None:
        """Go on by a token."""
        if not self._waits:
            self._mask = self._grammars.compute(self._advance, [token])
            return
        self._text += self._detokenizer.feed(token)
        while self._waits and self._waits[0] in self._text:
            self._text = self._text.partition(self._waits.pop(0))[2]
        if not self._waits and self._text:
            self._mask = self._grammars.compute(self._advance, self._grammars.encode(self._text))

    def _advance(self, tokens: Sequence[int]) -> Mask:
        self._matcher.consume_tokens(list(tokens))
        mask = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise RequestError(f"the answer cannot follow its grammar: {_first_line(self._matcher)}")
        return np.frombuffer(mask, np.uint32)


class Grammars:
    """Compiles grammars over one model's vocabulary. Its methods may be called from any thread."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        # One thread keeps the tokens of each constraint in their order.
        self._pool = ThreadPoolExecutor(1, "grammar")
        self.new_detokenizer: Callable[[], Detokenizer] = detokenizer_factory(
            loaded.tokenizer, keep=loaded.capabilities.markup
        )

    def constraints(
        self, grammar: str, *, waits: Sequence[str] = (), param: str, count: int = 1
    ) -> list[GrammarConstraint]:
        """One for each of `count` answers; `grammar` is in llguidance's Lark form.

        Raises RequestError that blames the field `param`.
        """
        matcher = LLMatcher(self._vocabulary(), grammar, log_level=0)
        if matcher.is_error():
            raise RequestError(f"{param} cannot be followed: {_first_line(matcher)}", param=param)
        matchers = [matcher, *(matcher.deep_copy() for _ in range(1, count))]
        return [GrammarConstraint(one, self, waits) for one in matchers]

    def encode(self, text: str) -> list[int]:
        """The tokens of a piece of an answer."""
        return list(self._loaded.tokenizer.encode(text, add_special_tokens=False))

    def compute(self, work: Callable[[Sequence[int]], Mask], tokens: Sequence[int]) -> Future[Mask]:
        """Have a mask computed after all those that were asked for before."""
        return self._pool.submit(work, tokens)

    def _vocabulary(self) -> LLTokenizer:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = self._read_vocabulary()
            return self._tokenizer

    def _read_vocabulary(self) -> LLTokenizer:
        if not byte_level(self._loaded.tokenizer):
            raise RequestError(
                "this model's vocabulary is not made of bytes: answers cannot follow a grammar"
            )
        ends = sorted(self._loaded.stop_tokens)
        vocabulary = _Vocabulary(
            vocabulary_bytes(self._loaded.tokenizer, keep=self._loaded.capabilities.markup),
            ends[0],
            self.encode,
        )
        return LLTokenizer(TokenizerWrapper(vocabulary), eos_token=list(ends))


class _Vocabulary:
    """What llguidance asks of a tokenizer: tokens as the bytes that they become in an answer."""

    bos_token_id = None

    def __init__(self, tokens: list[bytes], end: int, encode: Callable[[str], list[int]]) -> None:
        self.tokens = tokens
        self.eos_token_id = end
        self.special_token_ids = [token for token, text in enumerate(tokens) if not text]
        self._encode = encode

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


def _first_line(matcher: LLMatcher) -> str:
    return matcher.get_error().strip().partition("\n")[0][:300]
