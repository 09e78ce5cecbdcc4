"""What a chat request demands of its answer's form, as a grammar. Knows no tokens."""

from dataclasses import dataclass

from jangtq_coordinator.api.chat.answer_form import JsonForm
from jangtq_coordinator.api.chat.chat_schema import ChatRequest
from jangtq_coordinator.sampling.tool_grammar import answer_grammar, block_grammar
from jangtq_coordinator.text.tool_arguments import Schema
from jangtq_coordinator.text.tool_calls import BLOCK_START
from jangtq_proto.errors import RequestError


@dataclass(frozen=True)
class AnswerGrammar:
    """A grammar for what follows `waits`, and the field of the request that it comes from.

    `calls` says whether it has calls: one that begins in the reasoning ends that.
    """

    grammar: str
    param: str
    waits: tuple[str, ...]
    calls: bool = False


def demand_of(body: ChatRequest, *, reasoning_ends: str | None) -> AnswerGrammar | None:
    """None where the model may say what it likes. Raises RequestError.

    An answer that begins by reasoning may do so freely, until the text `reasoning_ends`.
    """
    calls, several = demanded_calls(body), body.parallel_tool_calls is not False
    waits = () if reasoning_ends is None else (reasoning_ends,)
    strict = {tool.function.name for tool in body.offered_tools if tool.function.strict}
    form, required = body.answer_form, body.choice.mode == "required"
    if required or isinstance(form, JsonForm):
        json = form if isinstance(form, JsonForm) and not required else None
        schema = None if json is None else json.schema
        grammar = answer_grammar(schema, calls, strict=strict, several=several, after_reasoning=bool(waits))
        return AnswerGrammar(grammar, json.param if json else "tools", waits, bool(calls))
    if form is not None:
        return AnswerGrammar(form.grammar(after_reasoning=bool(waits)), form.param, waits)
    if calls and (strict or not several or body.choice.names is not None):
        return AnswerGrammar(
            block_grammar(calls, strict=strict, several=several), "tools", (*waits, BLOCK_START)
        )
    return None


def demanded_calls(body: ChatRequest) -> dict[str, Schema]:
    """The functions that may be called. Raises RequestError where a call is demanded and none can be."""
    calls, choice = body.schemas, body.choice
    if choice.mode == "required" and choice.names is None and not calls:
        raise RequestError("tool_choice: a call is required and no tools are offered", param="tool_choice")
    if choice.names is None:
        return calls
    if unknown := [name for name in choice.names if name not in calls]:
        names = ", ".join(calls) or "none"
        raise RequestError(
            f"tool_choice: no function {unknown[0]!r} is offered: {names}", param="tool_choice"
        )
    return {name: calls[name] for name in choice.names}
