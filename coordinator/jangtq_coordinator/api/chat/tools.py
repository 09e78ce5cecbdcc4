"""The tools that a request offers and what it demands of them, checked. Knows no API's own spelling."""

from typing import Final, Literal

from pydantic import Field, JsonValue

from jangtq_coordinator.api.chat.chat_messages import Strict, Unicode

NAME_PATTERN: Final = r"^[a-zA-Z0-9_.:/-]{1,128}$"


class Function(Strict):
    """A function that the model may call; `parameters` is the JSON schema of its arguments."""

    name: str = Field(pattern=NAME_PATTERN)
    description: Unicode | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None


class Tool(Strict):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function

    def for_template(self) -> dict[str, object]:
        """What the model is shown of it."""
        return self.model_dump(exclude_unset=True, exclude={"function": {"strict"}})


class ToolChoice(Strict):
    """Whether the model may or must call, and which function; None lets it choose."""

    mode: Literal["none", "auto", "required"] = "auto"
    name: str | None = None


def parse_choice(value: object) -> object:
    """OpenAI's tool_choice, with a function's name in an object of its own or, as in responses, beside."""
    if value in ("none", "auto", "required"):
        return ToolChoice.model_validate({"mode": value})
    if value is None or isinstance(value, ToolChoice):
        return value
    inner = value.get("function", value) if isinstance(value, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(value, dict) or value.get("type") != "function" or not isinstance(name, str):
        raise ValueError(f"{value!r}: allowed are 'none', 'auto', 'required' and one function by its name")
    return ToolChoice(mode="required", name=name)
