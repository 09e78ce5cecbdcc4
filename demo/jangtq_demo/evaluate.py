"""`python -m jangtq_demo.evaluate [URL]`: the held-out questions through a real cluster's HTTP API.

Without a URL it starts two workers and a coordinator here. Needs no torch.
Exits with 1 where a goal is missed.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from jangtq_bundle.models import demo_model
from jangtq_coordinator.cli.demo.processes import Children
from jangtq_coordinator.cli.demo.run import start_cluster
from jangtq_demo.api_client import Client
from jangtq_demo.questions import (
    Question,
    Scores,
    ToolAnswer,
    ToolQuestion,
    Way,
    draw_questions,
    draw_tool_questions,
    judge,
    judge_call,
    judge_report,
    tally,
    tally_tools,
)

GOALS: Final[Mapping[str, float]] = {
    "arithmetic": 0.90,
    "tool calls": 0.95,
    "tool calls: without thinking": 0.95,
    "tool results": 0.95,
    "tool results: reasoning not sent back": 0.95,
    "tool results: without thinking": 0.95,
    "topics": 0.95,
}
"""What the shipped bundle must reach: shares of right answers, calls and reference sentences."""

_REPORTS: Final = 20
"""Lines of progress where they cannot overwrite each other."""

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


@dataclass(frozen=True)
class Outcome:
    """The scores, and every question that was not answered in full: what was asked, wanted and said."""

    scores: Scores
    failures: Sequence[Mapping[str, str]]


class Progress:
    """Counts answers on the standard error."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._started = time.monotonic()

    def count(self, answers: Iterable[Answered]) -> list[Answered]:
        """The answers, as they come."""
        return [self._step(answer) for answer in answers]

    def _step(self, answer: Answered) -> Answered:
        self._done += 1
        seconds = time.monotonic() - self._started
        left = seconds / self._done * (self._total - self._done)
        line = f"{self._done} of {self._total} questions, {seconds:.0f} s, about {left:.0f} s left"
        if sys.stderr.isatty():
            end = "\n" if self._done == self._total else ""
            print(f"\r\033[K{line}", end=end, file=sys.stderr, flush=True)
        elif self._done % max(1, self._total // _REPORTS) == 0:
            print(line, file=sys.stderr, flush=True)
        return answer


def evaluate(client: Client, *, share: float, concurrency: int) -> Outcome:
    """Ask all held-out questions, or a share of each category, so many at a time."""
    questions, tool_questions = draw_questions(share=share), draw_tool_questions(share=share)
    progress = Progress(len(questions) + len(tool_questions))
    with ThreadPoolExecutor(concurrency) as pool:

        def ask(one: Callable[[Asked], Answered], many: Sequence[Asked]) -> list[Answered]:
            return progress.count(pool.map(one, many))

        tool_answers = ask(client.ask_tool_question, tool_questions)
        answers = ask(client.ask_question, questions)
    scores = tally(questions, answers) | tally_tools(tool_questions, tool_answers)
    wrong = [_failure(q, a) for q, a in zip(questions, answers, strict=True) if judge(q, a) < 1]
    for asked, given in zip(tool_questions, tool_answers, strict=True):
        wrong += [_tool_failure(asked, way, given[way]) for way in given if not _is_right(asked, given[way])]
    return Outcome(scores, wrong)


def missed_goals(scores: Scores) -> list[str]:
    return [
        f"{name}: {scores[name].share:.1%}, the goal is {goal:.0%}"
        for name, goal in GOALS.items()
        if scores[name].share < goal
    ]


def score_table(scores: Scores) -> str:
    """A line for each category and each kind within it, with the goal where there is one."""
    lines = []
    for name in sorted(scores):
        score, goal = scores[name], GOALS.get(name)
        wanted = f"  goal {goal:.0%}" if goal else ""
        title = f"  {name.partition(': ')[2]}" if ": " in name else name
        lines.append(f"{title:24}{score.share:8.1%}  {score.right:6g} of {score.asked:3d}{wanted}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    with ExitStack() as stack:
        base_url = given.base_url
        if base_url is None:
            children = stack.enter_context(Children())
            base_url = f"{start_cluster(children, given.model, threads=given.threads)}/v1"
        client = stack.enter_context(closing(Client(base_url)))
        outcome = evaluate(client, share=given.share, concurrency=given.concurrency)
    print(score_table(outcome.scores))
    if given.out is not None:
        written = {name: [score.right, score.asked] for name, score in outcome.scores.items()}
        given.out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    if given.failures is not None:
        lines = [json.dumps(failure, ensure_ascii=False) + "\n" for failure in outcome.failures]
        given.failures.write_text("".join(lines), encoding="utf-8")
    missed = missed_goals(outcome.scores)
    print("\n".join(missed) or "all goals reached", file=sys.stderr)
    return 1 if missed else 0


def _failure(question: Question, answer: str) -> Mapping[str, str]:
    return {"kind": question.kind, "asked": question.text, "wanted": question.answer, "said": answer}


def _is_right(question: ToolQuestion, answer: ToolAnswer) -> bool:
    return bool(judge_call(question, answer.calls) * judge_report(question, answer.report))


def _tool_failure(question: ToolQuestion, way: Way, answer: ToolAnswer) -> Mapping[str, str]:
    return {
        "kind": f"tool, {way.value or 'thinking'}",
        "asked": question.text,
        "wanted": f"{question.call}, then {question.answer}",
        "said": f"{answer.calls}, then {answer.report}",
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jangtq_demo.evaluate", description=__doc__)
    parser.add_argument("base_url", nargs="?", metavar="URL", help="such as http://127.0.0.1:8080/v1")
    parser.add_argument("--model", type=Path, default=demo_model(), help="the bundle, where there is no URL")
    parser.add_argument("--threads", type=int, default=1, help="threads of each of the two workers")
    parser.add_argument("--share", type=float, default=1.0, help="ask only this share of the questions")
    parser.add_argument("--concurrency", type=int, default=8, help="questions in flight at a time")
    parser.add_argument("--out", type=Path, help="write the scores to this JSON file")
    parser.add_argument("--failures", type=Path, help="write the wrong answers to this file, a line each")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
