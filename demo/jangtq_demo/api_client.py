"""The held-out questions put to a cluster's HTTP API. Judges no answer, needs no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import httpx

from jangtq_demo.corpus.conversation import ToolCall
from jangtq_demo.questions import Question, ToolAnswer, ToolAnswers, ToolQuestion, Way

Message = Mapping[str, object]

_MOST_TOKENS: Final = 450
_TIMEOUT_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Reply:
    """One answer of the API; `message` can be sent back as the assistant's turn."""

    message: Message
    content: str
    calls: tuple[ToolCall, ...]
    call_ids: tuple[str, ...]


class Client:
    """Asks for greedy answers. Raises httpx.HTTPError for what the API refuses."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url.rstrip("/") + "/", timeout=_TIMEOUT_SECONDS)

    def close(self) -> None:
        self._http.close()

    def ask(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, object]] = (),
        *,
        thinking: bool = True,
    ) -> Reply:
        body: dict[str, object] = {"messages": messages, "temperature": 0, "max_tokens": _MOST_TOKENS}
        if tools:
            body["tools"] = [{"type": "function", "function": tool} for tool in tools]
        if not thinking:
            body["chat_template_kwargs"] = {"enable_thinking": False}
        response = self._http.post("chat/completions", json=body)
        response.raise_for_status()
        return _read_reply(response.json()["choices"][0]["message"])

    def ask_question(self, question: Question) -> str:
        return self.ask([_user(question.text)]).content

    def ask_tool_question(self, question: ToolQuestion) -> ToolAnswers:
        """The call and what follows from its result, in every way that clients have."""
        messages = [_user(question.text)]
        thought = self.ask(messages, question.tools)
        silent = self.ask(messages, question.tools, thinking=False)
        bare = {name: value for name, value in thought.message.items() if name != "reasoning_content"}
        return {
            Way.THINKING: self._report(question, thought),
            Way.WITHHELD: self._report(question, replace(thought, message=bare)),
            Way.SILENT: self._report(question, silent, thinking=False),
        }

    def _report(self, question: ToolQuestion, called: Reply, *, thinking: bool = True) -> ToolAnswer:
        if len(called.calls) != 1:
            return ToolAnswer(called.calls)
        result = {"role": "tool", "tool_call_id": called.call_ids[0], "content": question.response}
        messages = [_user(question.text), called.message, result]
        return ToolAnswer(called.calls, self.ask(messages, question.tools, thinking=thinking).content)


def _read_reply(message: dict[str, object]) -> Reply:
    made = message.get("tool_calls") or []
    assert isinstance(made, list)
    calls = tuple(
        ToolCall(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in made
    )
    content = message.get("content")
    return Reply(message, content if isinstance(content, str) else "", calls, tuple(c["id"] for c in made))


def _user(text: str) -> Message:
    return {"role": "user", "content": text}
