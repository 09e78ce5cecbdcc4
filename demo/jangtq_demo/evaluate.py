"""`python -m jangtq_demo.evaluate URL`: the held-out questions through a running cluster's HTTP API.

Needs no torch. Exits with 1 where a goal is missed.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from jangtq_demo.corpus.conversation import ToolCall
from jangtq_demo.questions import (
    Question,
    Scores,
    ToolQuestion,
    draw_questions,
    draw_tool_questions,
    tally,
    tally_tools,
)

GOALS: Final[Mapping[str, float]] = {"arithmetic": 0.90, "tool calls": 0.95, "topics": 0.95}
"""What the shipped bundle must reach: shares of right answers, calls and reference sentences."""

_MOST_TOKENS: Final = 450
_TIMEOUT_SECONDS: Final = 120.0


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


def ask_question(client: Client, question: Question) -> str:
    return client.ask([_user(question.text)]).content


def ask_tool_question(client: Client, question: ToolQuestion) -> tuple[tuple[ToolCall, ...], str]:
    """The calls, and the answer after the tool's result; no answer where there was not one call."""
    first = client.ask([_user(question.text)], question.tools)
    if len(first.calls) != 1:
        return first.calls, ""
    result = {"role": "tool", "tool_call_id": first.call_ids[0], "content": question.response}
    second = client.ask([_user(question.text), first.message, result], question.tools)
    return first.calls, second.content


def evaluate(client: Client, *, share: float, concurrency: int) -> Scores:
    """Ask all held-out questions, or a share of each category, so many at a time."""
    questions, tool_questions = draw_questions(share=share), draw_tool_questions(share=share)
    with ThreadPoolExecutor(concurrency) as pool:
        answers = list(pool.map(lambda question: ask_question(client, question), questions))
        outcomes = list(pool.map(lambda question: ask_tool_question(client, question), tool_questions))
    calls, reports = [calls for calls, _ in outcomes], [report for _, report in outcomes]
    return tally(questions, answers) | tally_tools(tool_questions, calls, reports)


def missed_goals(scores: Scores) -> list[str]:
    return [
        f"{name}: {scores[name].share:.1%}, the goal is {goal:.0%}"
        for name, goal in GOALS.items()
        if scores[name].share < goal
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m jangtq_demo.evaluate", description=__doc__)
    parser.add_argument("base_url", metavar="URL", help="such as http://127.0.0.1:8000/v1")
    parser.add_argument("--share", type=float, default=1.0, help="ask only this share of the questions")
    parser.add_argument("--concurrency", type=int, default=4, help="questions in flight at a time")
    parser.add_argument("--out", type=Path, help="write the scores to this JSON file")
    given = parser.parse_args(arguments)
    scores = evaluate(Client(given.base_url), share=given.share, concurrency=given.concurrency)
    for name, score in scores.items():
        print(f"{name:40} {score.share:7.1%}  ({score.right:g} of {score.asked})")
    if given.out is not None:
        written = {name: [score.right, score.asked] for name, score in scores.items()}
        given.out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    missed = missed_goals(scores)
    print("\n".join(missed), file=sys.stderr)
    return 1 if missed else 0


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


if __name__ == "__main__":
    raise SystemExit(main())
