"""The functions that a response may call, those in namespaces included. Knows no item."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator

from jangtq_coordinator.api.chat.foreign_items import keep_functions
from jangtq_coordinator.api.chat.tools import Function, Tool

_BETWEEN: Final = "__"


class FunctionTool(Function):
    """A function that the model may call, by a name that is flat where it is of a namespace."""

    type: Literal["function"]
    namespace: str | None = None
    own_name: str | None = None

    def offered(self) -> Tool:
        """As chat requests have it."""
        own = self.model_dump(include=set(Function.model_fields), exclude_unset=True)
        return Tool(type="function", function=Function(**own))

    def echo(self) -> dict[str, object]:
        """As a response repeats it."""
        own = self.model_dump(include=set(Function.model_fields))
        return own | {"type": "function", "name": self.own_name or self.name}


def flat_name(namespace: str | None, name: str) -> str:
    """What the model calls a function of a namespace, such as the tools of one MCP server."""
    if not namespace:
        return name
    return f"{namespace}{'' if namespace.endswith(_BETWEEN) else _BETWEEN}{name}"


def flatten_tools(tools: object) -> object:
    """All functions of a list of tools, those in namespaces under flat names; other tools are left out."""
    if not isinstance(tools, list):
        return tools
    flat = [one for tool in tools for one in (_functions_in(tool) if _is_namespace(tool) else [tool])]
    return keep_functions(flat, lambda tool: tool.get("type") == "function")


def _is_namespace(tool: object) -> bool:
    return (
        isinstance(tool, Mapping) and tool.get("type") == "namespace" and isinstance(tool.get("tools"), list)
    )


def _functions_in(namespace: Mapping[str, object]) -> Sequence[object]:
    inner, name = namespace["tools"], str(namespace.get("name") or "")
    assert isinstance(inner, list)
    return [_in_namespace(tool, name) for tool in inner]


def _in_namespace(tool: object, namespace: str) -> object:
    if not isinstance(tool, Mapping) or not isinstance(name := tool.get("name"), str):
        return tool
    return {**tool, "name": flat_name(namespace, name), "namespace": namespace, "own_name": name}


FunctionTools = Annotated[list[FunctionTool], BeforeValidator(flatten_tools)]


def own_name(flat: str, tools: Sequence[FunctionTool]) -> dict[str, str]:
    """The members of a call that name its function as the client called it, with its namespace if any."""
    tool = next((one for one in tools if one.name == flat and one.own_name), None)
    if tool is None or tool.own_name is None:
        return {"name": flat}
    return {"name": tool.own_name} | ({"namespace": tool.namespace} if tool.namespace else {})
