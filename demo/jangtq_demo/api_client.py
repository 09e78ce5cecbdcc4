"""The held-out questions put to a cluster's HTTP API. Judges no answer, needs no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from jangtq_demo.corpus.conversation import ToolCall
from jangtq_demo.questions import Question, ToolQuestion

_MOST_TOKENS: Final = 450
_TIMEOUT_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Reply:
    """One answer of the API; `message` can be sent back as the assistant's turn."""

    message: Mapping[str, object]
    content: str
    calls: tuple[ToolCall, ...]
    call_ids: tuple[str, ...]


class Client:
    """Asks for greedy answers. Raises httpx.HTTPError for what the API refuses."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url.rstrip("/") + "/", timeout=_TIMEOUT_SECONDS)

    def ask(
        self, messages: Sequence[Mapping[str, object]], tools: Sequence[Mapping[str, object]] = ()
    ) -> Reply:
        body: dict[str, object] = {"messages": messages, "temperature": 0, "max_tokens": _MOST_TOKENS}
        if tools:
            body["tools"] = [{"type": "function", "function": tool} for tool in tools]
        response = self._http.post("chat/completions", json=body)
        response.raise_for_status()
        return _read_reply(response.json()["choices"][0]["message"])

    def ask_question(self, question: Question) -> str:
        return self.ask([_user(question.text)]).content

    def ask_tool_question(self, question: ToolQuestion) -> tuple[tuple[ToolCall, ...], str]:
        """The calls, and the answer after the tool's result; no answer where there was not one call."""
        first = self.ask([_user(question.text)], question.tools)
        if len(first.calls) != 1:
            return first.calls, ""
        result = {"role": "tool", "tool_call_id": first.call_ids[0], "content": question.response}
        second = self.ask([_user(question.text), first.message, result], question.tools)
        return first.calls, second.content


def _read_reply(message: dict[str, object]) -> Reply:
    made = message.get("tool_calls") or []
    assert isinstance(made, list)
    calls = tuple(
        ToolCall(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in made
    )
    content = message.get("content")
    return Reply(message, content if isinstance(content, str) else "", calls, tuple(c["id"] for c in made))


def _user(text: str) -> Mapping[str, object]:
    return {"role": "user", "content": text}
