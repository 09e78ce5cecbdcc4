"""The events of one request, in order: prefill, tokens, then one end."""

from dataclasses import dataclass
from typing import Literal

from jangtq_coordinator.sampling.sampler import TokenLogprobs
from jangtq_coordinator.text.reasoning import Piece

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class Usage:
    """Token counts of one request. Completion tokens include reasoning; prompt tokens include cached ones."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True)
class PrefillProgress:
    """`done` of `total` prompt tokens are in the KV cache, `cached` of them since an earlier request."""

    done: int
    total: int
    cached: int = 0


@dataclass(frozen=True)
class TokenGenerated:
    """One more token, and the pieces of text that it completes; there may be none.

    `logprobs` are given for tokens of the content, where they were asked for.
    """

    token: int
    pieces: tuple[Piece, ...]
    logprobs: TokenLogprobs | None = None


@dataclass(frozen=True)
class Finished:
    """The answer is complete. `pieces` was held back until now; `stop` is the stop string that ended it."""

    reason: FinishReason
    usage: Usage
    pieces: tuple[Piece, ...] = ()
    stop: str | None = None


@dataclass(frozen=True)
class Failed:
    """The request failed, perhaps after a part of its answer."""

    error: Exception


GenerationEvent = PrefillProgress | TokenGenerated | Finished | Failed
