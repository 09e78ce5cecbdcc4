"""The model's tool calls as OpenAI's clients read them, whole or as deltas of a stream."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Final

from jangtq_coordinator.api.replies import FunctionReply, ToolCallReply
from jangtq_coordinator.tool_arguments import Schema, argument_fragments
from jangtq_coordinator.tool_calls import Invoke

ToolSchemas = Mapping[str, Schema]
"""The schema of each offered function's arguments."""

# Of a tool that was never offered: every value is a string.
_UNKNOWN: Final[Schema] = {}


def call_reply(invoke: Invoke, schemas: ToolSchemas) -> ToolCallReply:
    """One whole call."""
    arguments = "".join(argument_fragments(invoke, schemas.get(invoke.name, _UNKNOWN)))
    return ToolCallReply(id=_new_id(), function=FunctionReply(name=invoke.name, arguments=arguments))


def call_deltas(invoke: Invoke, schemas: ToolSchemas, *, index: int) -> Iterator[dict[str, object]]:
    """The same piece by piece: first the name, then fragments of the arguments."""
    function = {"name": invoke.name, "arguments": ""}
    yield {"index": index, "id": _new_id(), "type": "function", "function": function}
    for fragment in argument_fragments(invoke, schemas.get(invoke.name, _UNKNOWN)):
        yield {"index": index, "function": {"arguments": fragment}}


def _new_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
