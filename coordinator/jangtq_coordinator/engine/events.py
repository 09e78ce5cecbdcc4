"""What the engine tells about one request, in order: prefill, tokens, then one end."""

from dataclasses import dataclass
from typing import Literal

from jangtq_coordinator.sampling.sampler import TokenLogprobs
from jangtq_coordinator.text.reasoning import Piece

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class Usage:
    """Tokens of one request. Completion tokens include reasoning, prompt tokens those cached."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True)
class PrefillProgress:
    """`done` of `total` prompt tokens are in the KV cache."""

    done: int
    total: int


@dataclass(frozen=True)
class TokenGenerated:
    """One more token, and the pieces of text that became certain with it; there may be none.

    `logprobs` are given for tokens of the content, where they were asked for.
    """

    token: int
    pieces: tuple[Piece, ...]
    logprobs: TokenLogprobs | None = None


@dataclass(frozen=True)
class Finished:
    """The answer is complete; `pieces` is what had been held back, `stop` the stop string it met."""

    reason: FinishReason
    usage: Usage
    pieces: tuple[Piece, ...] = ()
    stop: str | None = None


@dataclass(frozen=True)
class Failed:
    """The request ends here without an answer, or with a part of one."""

    error: Exception


GenerationEvent = PrefillProgress | TokenGenerated | Finished | Failed
