"""The messages of a conversation as clients send them, checked. Knows no other field of a request."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from jangtq_coordinator.api.chat.assistant_parts import join_details, lift_thoughts, split_thoughts
from jangtq_coordinator.api.chat.content_parts import check_unicode, join_result_text, join_text
from jangtq_coordinator.api.chat.replayed_arguments import read_arguments


class Strict(BaseModel):
    """No value is bent to fit; fields without a meaning here are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class TextPart(Strict):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


Unicode = Annotated[str, AfterValidator(check_unicode)]
Text = Annotated[Unicode, BeforeValidator(join_text, json_schema_input_type=str | list[TextPart])]
ResultText = Annotated[
    Unicode, BeforeValidator(join_result_text, json_schema_input_type=str | list[TextPart])
]


class SystemMessage(Strict):
    """Instructions; `developer` is OpenAI's newer name of the role."""

    role: Literal["system", "developer"]
    content: Text


class UserMessage(Strict):
    """What the user said."""

    role: Literal["user"]
    content: Text


Arguments = Annotated[
    dict[str, JsonValue],
    BeforeValidator(read_arguments, json_schema_input_type=JsonValue),
]


class CalledFunction(Strict):
    """What was called; clients send the arguments as JSON text, some as an object."""

    name: Unicode
    arguments: Arguments = Field(default_factory=dict)


class ToolCall(Strict):
    """A call of an earlier answer."""

    id: Unicode | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(Strict):
    """An earlier answer, with its reasoning where the client kept it, in whatever form it was kept."""

    role: Literal["assistant"]
    content: Text | None = None
    reasoning_content: Unicode | None = None
    reasoning: Unicode | None = None
    reasoning_details: JsonValue = None
    refusal: Unicode | None = None
    tool_calls: list[ToolCall] | None = None
    prefix: bool | None = None
    """DeepSeek's way to ask for a continuation of this message, where it is the last."""

    @model_validator(mode="before")
    @classmethod
    def _lift_thoughts(cls, given: object) -> object:
        return lift_thoughts(given)

    @property
    def thoughts(self) -> str:
        """The reasoning."""
        kept = self.reasoning_content or self.reasoning or join_details(self.reasoning_details)
        return kept or split_thoughts(self.content or "")[0]

    @property
    def said(self) -> str:
        """The answer itself."""
        if self.reasoning_content or self.reasoning:
            return self.content or self.refusal or ""
        return split_thoughts(self.content or "")[1] or self.refusal or ""


class ToolMessage(Strict):
    """What a call returned."""

    role: Literal["tool"]
    content: ResultText
    tool_call_id: Unicode | None = None


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]
