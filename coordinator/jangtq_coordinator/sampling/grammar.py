"""Answers that follow a grammar, by llguidance's token masks. Knows no HTTP and no batch.

Masks are computed in a thread of their own while the model computes the logits that they are for.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from typing import Protocol, TypeVar

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from jangtq_coordinator.mlx_lm import TokenizerWrapper as ModelTokenizer
from jangtq_coordinator.sampling.grammar_wait import GrammarWait
from jangtq_coordinator.text.capabilities import Capabilities
from jangtq_coordinator.text.detokenizer import Detokenizer, byte_level, detokenizer_factory, vocabulary_bytes
from jangtq_proto.errors import RequestError

Mask = NDArray[np.uint32]
T = TypeVar("T")


class GrammarConstraint:
    """Leaves an answer free until its `wait` is over."""

    def __init__(self, matcher: LLMatcher, grammars: "Grammars", wait: GrammarWait) -> None:
        self._matcher = matcher
        self._grammars = grammars
        self._wait = wait
        self._detokenizer = grammars.new_detokenizer()
        self._forced = grammars.compute(lambda: self._advance([]))
        self._masks: Future[list[Mask | None]] | None = grammars.compute(lambda: self._masks_along(()))

    def mask(self, ahead: Sequence[int] = ()) -> Mask | None:
        """The tokens that may come after those `ahead`; None while all may. Raises RequestError.

        Tokens ahead must be among those of the last `look_ahead`.
        """
        if not self._wait.over:
            return None
        if self._masks is None:
            self.look_ahead(ahead)
        assert self._masks is not None
        return self._masks.result()[len(ahead)]

    def take(self, token: int) -> None:
        """Go on by a token."""
        self._masks = None
        if self._wait.over:
            self._forced = self._grammars.compute(lambda: self._advance([token]))
        elif text := self._wait.feed(self._detokenizer.feed(token)):
            begun = self._grammars.encode(text)
            self._forced = self._grammars.compute(lambda: self._advance(begun))

    def forced_tokens(self) -> tuple[int, ...]:
        """The tokens that spell what the grammar demands next; none while the answer is free."""
        return () if not self._wait.over or self._forced.exception() else self._forced.result()

    def verifiable(self, draft: Sequence[int]) -> tuple[int, ...]:
        """As much of a draft as can be checked at once: up to where the answer stops being free."""
        if not self._wait.over:
            wait, detokenizer = copy(self._wait), self._grammars.new_detokenizer()
            for count, token in enumerate(draft):
                wait.feed(detokenizer.feed(token))
                if wait.over:
                    return tuple(draft[:count])
        return tuple(draft)

    def look_ahead(self, draft: Sequence[int]) -> None:
        """Begin to compute the masks before and after each token of a draft."""
        if self._wait.over:
            self._masks = self._grammars.compute(lambda: self._masks_along(draft))

    def _advance(self, tokens: Sequence[int]) -> tuple[int, ...]:
        self._matcher.consume_tokens(list(tokens))
        return tuple(self._matcher.compute_ff_tokens())

    def _masks_along(self, draft: Sequence[int]) -> list[Mask | None]:
        """None after a token that may not stand there: whatever comes next, it is not taken."""
        masks: list[Mask | None] = [self._mask_here()]
        for token in draft:
            if token >= self._grammars.vocabulary_size or not self._matcher.try_consume_tokens([token]):
                break
            masks.append(self._mask_here())
        self._matcher.rollback(len(masks) - 1)
        return masks + [None] * (1 + len(draft) - len(masks))

    def _mask_here(self) -> Mask:
        mask = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise RequestError(f"the answer cannot follow its grammar: {_first_line(self._matcher)}")
        return np.frombuffer(mask, np.uint32)


class VocabularySource(Protocol):
    """What grammars need of a model; the engine's LoadedModel is one."""

    @property
    def tokenizer(self) -> ModelTokenizer: ...
    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def stop_tokens(self) -> frozenset[int]: ...


class Grammars:
    """Compiles grammars over one model's vocabulary. Its methods may be called from any thread."""

    def __init__(self, loaded: VocabularySource) -> None:
        self._loaded = loaded
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        # One thread keeps the tokens of each constraint in their order.
        self._pool = ThreadPoolExecutor(1, "grammar")
        self.new_detokenizer: Callable[[], Detokenizer] = detokenizer_factory(
            loaded.tokenizer, keep=loaded.capabilities.markup
        )

    def constraints(
        self, grammar: str, *, waits: Sequence[str] = (), calls: bool = False, param: str, count: int = 1
    ) -> list[GrammarConstraint]:
        """One for each of `count` answers; `grammar` is in llguidance's Lark form, for what follows `waits`.

        `calls` says that a call that begins in the reasoning ends that.
        Raises RequestError that blames the field `param`.
        """
        matcher = LLMatcher(self._vocabulary(), grammar, log_level=0)
        if matcher.is_error():
            raise RequestError(f"{param} cannot be followed: {_first_line(matcher)}", param=param)
        matchers = [matcher, *(matcher.deep_copy() for _ in range(1, count))]
        return [GrammarConstraint(one, self, GrammarWait(waits, calls=calls)) for one in matchers]

    def encode(self, text: str) -> list[int]:
        """The tokens of a piece of an answer."""
        return list(self._loaded.tokenizer.encode(text, add_special_tokens=False))

    @property
    def vocabulary_size(self) -> int:
        return int(self._vocabulary().vocab_size)

    def compute(self, work: Callable[[], T]) -> Future[T]:
        """Have something computed after all that was asked for before."""
        return self._pool.submit(work)

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
