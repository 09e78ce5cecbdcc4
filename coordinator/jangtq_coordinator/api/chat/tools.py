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
    """Whether the model may or must call, and which functions; None lets it choose among all."""

    mode: Literal["none", "auto", "required"] = "auto"
    names: tuple[str, ...] | None = None


def parse_choice(value: object) -> object:
    """OpenAI's tool_choice, with a function's name in an object of its own or, as in responses, beside."""
    if value in ("none", "auto", "required"):
        return ToolChoice.model_validate({"mode": value})
    if value is None or isinstance(value, ToolChoice):
        return value
    if isinstance(value, dict) and value.get("type") == "allowed_tools":
        return _parse_allowed(value.get("allowed_tools", value))
    if (name := _function_name(value)) is None:
        raise ValueError(
            f"{value!r}: allowed are 'none', 'auto', 'required', one function by its name, and allowed_tools"
        )
    return ToolChoice(mode="required", names=(name,))


def _parse_allowed(allowed: object) -> ToolChoice:
    """OpenAI's allowed_tools; its members stand beside the type or, as in chat, in an object."""
    tools = allowed.get("tools") if isinstance(allowed, dict) else None
    mode = allowed.get("mode") if isinstance(allowed, dict) else None
    if not isinstance(tools, list) or not tools or mode not in ("auto", "required"):
        raise ValueError("allowed_tools needs a mode, 'auto' or 'required', and a list of tools")
    names = [_function_name(tool) for tool in tools]
    if wrong := [tool for tool, name in zip(tools, names, strict=True) if name is None]:
        raise ValueError(f"{wrong[0]!r} is no function: allowed_tools takes functions by their names")
    return ToolChoice(mode=mode, names=tuple(map(str, names)))


def _function_name(value: object) -> str | None:
    inner = value.get("function", value) if isinstance(value, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    named = isinstance(value, dict) and value.get("type") == "function" and isinstance(name, str)
    return str(name) if named else None
