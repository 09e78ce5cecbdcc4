"""What a chat request demands of its answer's form, as a grammar. Knows no tokens."""

from dataclasses import dataclass

from jangtq_coordinator.api.schema import ChatRequest
from jangtq_coordinator.tool_arguments import Schema
from jangtq_coordinator.tool_calls import BLOCK_START
from jangtq_coordinator.tool_grammar import answer_grammar, block_grammar
from jangtq_proto.errors import RequestError


@dataclass(frozen=True)
class Demand:
    """A grammar for what follows `waits`, and the field of the request that it comes from."""

    grammar: str
    param: str
    waits: tuple[str, ...] = ()


def demand_of(body: ChatRequest) -> Demand | None:
    """None where the model may say what it likes. Raises RequestError."""
    calls, several = demanded_calls(body), body.parallel_tool_calls is not False
    if body.choice.mode == "required":
        return Demand(answer_grammar(None, calls, several=several), "tools")
    if (schema := body.answer_schema) is not None:
        return Demand(answer_grammar(schema, calls, several=several), "response_format")
    strict = any(tool.function.strict for tool in body.offered_tools)
    if calls and (strict or not several):
        return Demand(block_grammar(calls, several=several), "tools", (BLOCK_START,))
    return None


def demanded_calls(body: ChatRequest) -> dict[str, Schema]:
    """The functions that may be called. Raises RequestError where a call is demanded and none can be."""
    calls, choice = body.schemas, body.choice
    if choice.name is not None and choice.name not in calls:
        names = ", ".join(calls) or "none"
        raise RequestError(
            f"tool_choice: no function {choice.name!r} is offered: {names}", param="tool_choice"
        )
    if choice.mode == "required" and not calls:
        raise RequestError("tool_choice: a call is required and no tools are offered", param="tool_choice")
    return calls if choice.name is None else {choice.name: calls[choice.name]}
