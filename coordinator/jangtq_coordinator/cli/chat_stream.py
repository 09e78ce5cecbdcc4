"""Answers of a running coordinator as they come, over its chat API."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import BaseModel

from jangtq_coordinator.cli.admin_client import CoordinatorAnswerError, stream

_DATA: Final = "data: "
_DONE: Final = "[DONE]"
PATH: Final = "/v1/chat/completions"


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
    finish_reason: str | None = None


class ChunkUsage(BaseModel):
    """Tokens of the whole request, in its last chunk."""

    prompt_tokens: int = 0
    completion_tokens: int


class ChatChunk(BaseModel):
    """One event of a stream; the last one has usage and no choice."""

    choices: list[ChunkChoice]
    usage: ChunkUsage | None = None


def chat_chunks(
    url: str, messages: Sequence[Mapping[str, object]], options: Mapping[str, object]
) -> Iterator[ChatChunk]:
    """Send messages and give the chunks of the answer. Raises CoordinatorAnswerError, also in its middle."""
    body = {"messages": messages, "stream": True, "stream_options": {"include_usage": True}, **options}
    for line in stream(url, PATH, body):
        if not line.startswith(_DATA) or line == f"{_DATA}{_DONE}":
            continue
        data = line.removeprefix(_DATA)
        if '"error"' in data and (error := json.loads(data).get("error")):
            raise CoordinatorAnswerError(f"the answer ended early: {error['message']}")
        yield ChatChunk.model_validate_json(data)
