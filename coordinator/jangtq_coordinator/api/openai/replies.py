"""The bodies of answers, as OpenAI's clients read them."""

from typing import Literal

from pydantic import BaseModel

from jangtq_coordinator.engine.events import FinishReason, Usage


class ModelCard(BaseModel):
    """One served model."""

    id: str
    created: int
    context_length: int
    object: Literal["model"] = "model"
    owned_by: str = "jangtq-cluster"


class ModelList(BaseModel):
    """All served models, which is one."""

    data: list[ModelCard]
    object: Literal["list"] = "list"


class PromptDetails(BaseModel):
    """How much of the prompt was known from earlier requests."""

    cached_tokens: int


class CompletionDetails(BaseModel):
    """How much of the answer was reasoning."""

    reasoning_tokens: int


class UsageReply(BaseModel):
    """Tokens of one request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: CompletionDetails
    prompt_tokens_details: PromptDetails

    @classmethod
    def of(cls, usage: Usage) -> "UsageReply":
        return cls(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
            completion_tokens_details=CompletionDetails(reasoning_tokens=usage.reasoning_tokens),
            prompt_tokens_details=PromptDetails(cached_tokens=usage.cached_tokens),
        )


class FunctionReply(BaseModel):
    """What is called; `arguments` is the JSON text of an object."""

    name: str
    arguments: str


class ToolCallReply(BaseModel):
    """One call that the model asks for."""

    id: str
    function: FunctionReply
    type: Literal["function"] = "function"


class AssistantReply(BaseModel):
    """The answer; null stands for no reasoning, no tool calls, and no content beside tool calls."""

    content: str | None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallReply] | None = None
    role: Literal["assistant"] = "assistant"


class Choice(BaseModel):
    """One answer of a request."""

    index: int
    message: AssistantReply
    finish_reason: FinishReason
    logprobs: dict[str, object] | None = None


class ChatCompletion(BaseModel):
    """A whole answer at once."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: UsageReply
    object: Literal["chat.completion"] = "chat.completion"
