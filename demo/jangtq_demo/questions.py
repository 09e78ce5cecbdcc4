"""The held-out questions and how answers to them are judged. Knows neither the model nor HTTP."""

import math
import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from jangtq_demo.corpus import arithmetic as arithmetic_questions
from jangtq_demo.corpus import calendar_units, refusals, smalltalk, tool_use, topics, words
from jangtq_demo.corpus.conversation import Arguments, Conversation, Schema, ToolCall
from jangtq_demo.corpus.mixture import in_conversation
from jangtq_demo.corpus.split import Split
from jangtq_demo.corpus.tool_use import ToolExchange

_SEED: Final = 7
COUNTS: Final[Mapping[str, int]] = {
    "arithmetic": 500,
    "words": 300,
    "calendar and units": 300,
    "topics": 520,
    "greetings": 30,
    "refusals": 200,
}
"""Held-out questions of a full measurement; 520 are all topics in all unseen wordings."""
TOOL_COUNT: Final = 300
Scores = dict[str, "Score"]
_SENTENCE_END: Final = re.compile(r"(?<=\.) ")


@dataclass(frozen=True)
class Question:
    """A user's question with its only right answer; `kind` names the task within the category."""

    category: str
    kind: str
    text: str
    answer: str
    conversation: Conversation


@dataclass(frozen=True)
class ToolQuestion:
    """A user's question with tools, the right call, what the tool then returns, and the right last answer."""

    text: str
    tools: tuple[Schema, ...]
    call: ToolCall
    response: str
    answer: str
    conversation: Conversation


class Way(Enum):
    """How a client holds a conversation with tools; the value names its scores, the first is the main one."""

    THINKING = ""
    WITHHELD = "reasoning not sent back"
    SILENT = "without thinking"


@dataclass(frozen=True)
class ToolAnswer:
    """The calls made, and the answer after the tool's result; no answer where there was not one call."""

    calls: tuple[ToolCall, ...] = ()
    report: str = ""


ToolAnswers = Mapping[Way, ToolAnswer]
"""Of one question. Before a result the first two ways are the same."""


@dataclass(frozen=True)
class Score:
    """How much of what was asked came out right."""

    right: float = 0.0
    asked: int = 0

    @property
    def share(self) -> float:
        return self.right / self.asked if self.asked else 0.0

    def add(self, right: float) -> "Score":
        return Score(self.right + right, self.asked + 1)


def draw_questions(*, share: float = 1.0) -> list[Question]:
    """The held-out questions, always the same; of each category only this share, rounded up."""
    makers = {
        "arithmetic": arithmetic_questions.make,
        "words": words.make,
        "calendar and units": calendar_units.make,
        "greetings": smalltalk.make,
        "refusals": refusals.make,
    }
    drawn: list[Question] = []
    for category, most in COUNTS.items():
        count = math.ceil(most * share)
        rng = random.Random(f"held out/{_SEED}/{category}")
        if category == "topics":
            exchanges = topics.held_out_questions()
            rng.shuffle(exchanges)
            exchanges = exchanges[:count]
        else:
            exchanges = [makers[category](rng, Split.HELD_OUT) for _ in range(count)]
        drawn += [Question(category, e.kind, e.question, e.answer, in_conversation(e)) for e in exchanges]
    return drawn


def draw_tool_questions(*, share: float = 1.0) -> list[ToolQuestion]:
    rng = random.Random(f"held out/{_SEED}/tools")
    count = math.ceil(TOOL_COUNT * share)
    return [_tool_question(tool_use.make(rng, Split.HELD_OUT)) for _ in range(count)]


def tally(questions: Sequence[Question], answers: Sequence[str]) -> Scores:
    """Scores of each category, and of each kind within it, under `category: kind`."""
    scores: defaultdict[str, Score] = defaultdict(Score)
    for question, answer in zip(questions, answers, strict=True):
        right = judge(question, answer)
        for name in (question.category, f"{question.category}: {question.kind}"):
            scores[name] = scores[name].add(right)
    return dict(scores)


def tally_tools(questions: Sequence[ToolQuestion], answers: Sequence[ToolAnswers]) -> Scores:
    """Scores of the calls, and of the last answers; an answer counts only after a right call."""
    scores: defaultdict[str, Score] = defaultdict(Score)
    for question, given in zip(questions, answers, strict=True):
        for way, answer in given.items():
            kind = f": {way.value}" if way.value else ""
            right = judge_call(question, answer.calls)
            if way is not Way.WITHHELD:
                scores[f"tool calls{kind}"] = scores[f"tool calls{kind}"].add(right)
            reported = right * judge_report(question, answer.report)
            scores[f"tool results{kind}"] = scores[f"tool results{kind}"].add(reported)
    return dict(scores)


def judge(question: Question, answer: str) -> float:
    """1 for exactly the right answer, else 0; for topics the share of reference sentences in it."""
    answer = answer.strip()
    if question.category != "topics":
        return float(answer == question.answer)
    wanted = _SENTENCE_END.split(question.answer)
    found = set(_SENTENCE_END.split(answer))
    return sum(sentence in found for sentence in wanted) / len(wanted)


def judge_call(question: ToolQuestion, calls: Sequence[ToolCall]) -> float:
    """1 for exactly one call of the right function with the right arguments, else 0."""
    if len(calls) != 1 or calls[0].name != question.call.name:
        return 0.0
    return float(_as_text(calls[0].arguments) == _as_text(question.call.arguments))


def judge_report(question: ToolQuestion, answer: str) -> float:
    return float(answer.strip() == question.answer)


def _as_text(arguments: Arguments) -> dict[str, str]:
    return {name: str(value) for name, value in arguments.items()}


def _tool_question(exchange: ToolExchange) -> ToolQuestion:
    schemas = tuple(tool.schema for tool in exchange.offered)
    return ToolQuestion(
        exchange.question, schemas, exchange.call, exchange.response, exchange.report, exchange.conversation
    )
