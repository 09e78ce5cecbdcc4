"""The held-out questions and how answers to them are judged. Knows neither the model nor HTTP."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jangtq_demo.corpus import calendar_units, smalltalk, tool_use, topics, words
from jangtq_demo.corpus import arithmetic as arithmetic_questions
from jangtq_demo.corpus.conversation import Arguments, Schema, ToolCall
from jangtq_demo.corpus.split import Split
from jangtq_demo.corpus.tool_use import ToolExchange

SEED: Final = 7
_SENTENCE_END: Final = re.compile(r"(?<=\.) ")


@dataclass(frozen=True)
class Question:
    """A user's question with its only right answer; `kind` names the task within the category."""

    category: str
    kind: str
    text: str
    answer: str


@dataclass(frozen=True)
class ToolQuestion:
    """A user's question with tools, the right call, what the tool then returns, and the right last answer."""

    text: str
    tools: tuple[Schema, ...]
    call: ToolCall
    response: str
    answer: str


@dataclass(frozen=True)
class Score:
    """How many of the things asked for came out right."""

    right: float
    asked: int

    @property
    def share(self) -> float:
        return self.right / self.asked if self.asked else 0.0


def draw_questions(counts: Mapping[str, int], *, seed: int = SEED) -> list[Question]:
    """So many held-out questions of each category; topics are all topics in unseen wordings, then cut."""
    makers = {
        "arithmetic": arithmetic_questions.make,
        "words": words.make,
        "calendar and units": calendar_units.make,
        "greetings": smalltalk.make_greeting,
        "refusals": smalltalk.make_refusal,
    }
    drawn: list[Question] = []
    for category, count in counts.items():
        rng = random.Random(f"held out/{seed}/{category}")
        if category == "topics":
            exchanges = topics.held_out_questions()
            rng.shuffle(exchanges)
            exchanges = exchanges[:count]
        else:
            exchanges = [makers[category](rng, Split.HELD_OUT) for _ in range(count)]
        drawn += [Question(category, e.kind, e.question, e.answer) for e in exchanges]
    return drawn


def draw_tool_questions(count: int, *, seed: int = SEED) -> list[ToolQuestion]:
    rng = random.Random(f"held out/{seed}/tools")
    return [_tool_question(tool_use.make(rng, Split.HELD_OUT)) for _ in range(count)]


def judge(question: Question, answer: str) -> float:
    """1 for exactly the right answer, else 0; for topics the share of reference sentences that stand in it."""
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
    return ToolQuestion(exchange.question, schemas, exchange.call, exchange.response, exchange.report)
