"""One active sequence of tokens: its prompt, its answer so far, and when that ends. Knows no batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from jangtq_coordinator.engine.engine_config import Speculation
from jangtq_coordinator.engine.events import FinishReason
from jangtq_coordinator.sampling.sampler import Pick, SequenceSampler, TokenLogprobs


@dataclass(frozen=True)
class TokenStep:
    """One sequence's next token, or why it has none."""

    uid: int
    token: int
    finish_reason: FinishReason | None = None
    failure: Exception | None = None
    logprobs: TokenLogprobs | None = None

    @property
    def is_last(self) -> bool:
        return self.finish_reason is not None or self.failure is not None


class TokenSequence:
    """A prompt and its answer. The model computes all tokens except the last before it gives the next one."""

    def __init__(
        self,
        uid: int,
        prompt: Sequence[int],
        *,
        max_tokens: int,
        sampler: SequenceSampler,
        speculation: Speculation | None = None,
        stop_tokens: frozenset[int] = frozenset(),
    ) -> None:
        """`speculation` overrides the engine's; `stop_tokens` end it beside the model's."""
        self.uid = uid
        self.speculation = speculation
        self.tokens = list(prompt)
        self.limit = len(prompt) + max_tokens
        self.sampler = sampler
        self._stop_tokens = stop_tokens
        self._prompt_tokens = len(prompt)
        self.cached_tokens = 0
        """How many tokens of the prompt came from the prefix cache."""

    @property
    def answered(self) -> int:
        """The number of tokens in the answer."""
        return len(self.tokens) - self._prompt_tokens

    def take(self, pick: Pick, stop_tokens: frozenset[int]) -> TokenStep:
        """Append a pick."""
        if pick.failure is not None:
            return TokenStep(self.uid, pick.token, failure=pick.failure)
        self.tokens.append(pick.token)
        self.sampler.take(pick.token)
        reason: FinishReason | None = "length" if len(self.tokens) >= self.limit else None
        if pick.token in stop_tokens or pick.token in self._stop_tokens:
            reason = "stop"
        return TokenStep(self.uid, pick.token, reason, logprobs=pick.logprobs)
