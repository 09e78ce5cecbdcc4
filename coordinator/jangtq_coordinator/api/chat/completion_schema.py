"""The body of a completion request, checked: plain texts to be continued."""

from typing import Annotated, Final

from pydantic import Field, JsonValue

from jangtq_coordinator.api.chat.chat_messages import Unicode
from jangtq_coordinator.api.chat.generation_fields import GenerationFields, only

_DEFAULT_TOKENS: Final = 16
_MAX_PROMPTS: Final = 64

Tokens = Annotated[list[int], Field(min_length=1)]
Prompt = Annotated[Unicode, Field(min_length=1)] | Tokens


class CompletionRequest(GenerationFields):
    """OpenAI's completion request; a prompt is text or token ids, and there may be several."""

    prompt: (
        Prompt
        | Annotated[list[Unicode], Field(min_length=1, max_length=_MAX_PROMPTS)]
        | Annotated[list[Tokens], Field(min_length=1, max_length=_MAX_PROMPTS)]
    )
    logprobs: int | None = Field(default=None, ge=0, le=5)

    best_of: Annotated[JsonValue, only(1)] = None
    echo: Annotated[JsonValue, only(False)] = None
    suffix: Annotated[JsonValue, only("")] = None

    @property
    def prompts(self) -> list[str | list[int]]:
        given = self.prompt
        if isinstance(given, str):
            return [given]
        return [given] if isinstance(given[0], int) else given  # type: ignore[return-value]

    @property
    def token_limit(self) -> int:
        """OpenAI's default is a short one."""
        return self.max_tokens or _DEFAULT_TOKENS

    @property
    def wanted_logprobs(self) -> int | None:
        return self.logprobs
