"""The bodies of answers, as OpenAI's clients read them."""

from typing import Literal

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer

from jangtq_coordinator.engine.events import FinishReason, Usage


class ModelCard(BaseModel):
    """One served model; `max_model_len` is vLLM's name of the context length."""

    id: str
    created: int
    context_length: int
    max_model_len: int
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
    """The answer; null stands for no reasoning, and for no content beside tool calls.

    The reasoning has both of its usual names.
    """

    content: str | None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: None = None
    tool_calls: list[ToolCallReply] = []
    role: Literal["assistant"] = "assistant"

    @model_serializer(mode="wrap")
    def _leave_out_no_calls(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        """OpenAI's schema has no empty list of calls, and no null."""
        written: dict[str, object] = write(self)
        return written if self.tool_calls else {key: v for key, v in written.items() if key != "tool_calls"}


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
