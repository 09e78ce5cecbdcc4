"""A chat with a served model over HTTP, as the demo and the benchmarks hold it."""

from collections.abc import Iterator, Mapping, Sequence

import httpx
from pydantic import BaseModel

from jangtq_coordinator.api.admin.cluster_status import ClusterStatus
from jangtq_proto.errors import WorkerFaultError

_DATA = "data: "


class ChunkFunction(BaseModel):
    """What a tool call names, its arguments as JSON."""

    name: str = ""
    arguments: str = ""


class ChunkTool(BaseModel):
    """One tool call, or the next piece of it; `index` counts the calls of an answer."""

    index: int
    id: str = ""
    function: ChunkFunction

    def joined(self, piece: "ChunkTool") -> "ChunkTool":
        ours, more = self.function, piece.function
        function = ChunkFunction(name=ours.name + more.name, arguments=ours.arguments + more.arguments)
        return ChunkTool(index=self.index, id=self.id + piece.id, function=function)


class Delta(BaseModel):
    """A piece of an answer."""

    reasoning_content: str = ""
    content: str = ""
    tool_calls: list[ChunkTool] = []


class ChunkChoice(BaseModel):
    """The one answer of a request, in part."""

    delta: Delta


class ChunkUsage(BaseModel):
    """Tokens of the whole request, in its last chunk."""

    completion_tokens: int


class ChatChunk(BaseModel):
    """One event of a stream; the last one has usage and no choice."""

    choices: list[ChunkChoice]
    usage: ChunkUsage | None = None


def turn_chunks(
    base_url: str,
    messages: Sequence[Mapping[str, object]],
    *,
    max_tokens: int,
    tools: Sequence[Mapping[str, object]] = (),
) -> Iterator[ChatChunk]:
    """Send messages, with tools that may be called, and give the chunks as they come.

    Raises WorkerFaultError for an error answer.
    """
    body = {
        "messages": messages,
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if tools:
        body["tools"] = [{"type": "function", "function": tool} for tool in tools]
    # The coordinator is on this machine: no proxy of the environment is asked.
    url = f"{base_url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=120, trust_env=False) as response:
        if response.is_error:
            raise WorkerFaultError(f"the coordinator answered {response.status_code}: {response.read()!r}")
        for line in response.iter_lines():
            if line.startswith(_DATA) and line != f"{_DATA}[DONE]":
                yield ChatChunk.model_validate_json(line.removeprefix(_DATA))


def cluster_status(base_url: str) -> ClusterStatus:
    """Which worker holds what, and where each layer's time goes."""
    response = httpx.get(f"{base_url}/cluster", timeout=10, trust_env=False).raise_for_status()
    return ClusterStatus.model_validate_json(response.content)
