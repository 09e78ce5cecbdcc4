"""Conversations with tools: a call with the right arguments, then an answer that uses the result."""

import random
from dataclasses import dataclass, replace
from typing import Final

from jangtq_demo.corpus import arithmetic, smalltalk, topics, words
from jangtq_demo.corpus.conversation import Conversation, Message, ToolCall
from jangtq_demo.corpus.exchange import roughen
from jangtq_demo.corpus.split import Split
from jangtq_demo.corpus.tool import OfferedTool, offer, response_text
from jangtq_demo.corpus.toolbox import TOOLS

_NO_TOOL_SHARE: Final = 0.12
_SECOND_SHARE: Final = 0.15
_WITHHELD_SHARE: Final = 0.2
"""So often the client does not send the reasoning of a call back."""
_SILENT_SHARE: Final = 0.2
_OTHERS: Final = {Split.TRAINING: (0, 1, 1, 2, 2, 3), Split.HELD_OUT: (0, 0, 1, 1, 2)}
"""How many tools are offered beside the one that is wanted."""


@dataclass(frozen=True)
class ToolExchange:
    """A question, the call that it wants, what the tool returns and the last answer."""

    question: str
    offered: tuple[OfferedTool, ...]
    call: ToolCall
    call_reasoning: str
    response: str
    report_reasoning: str
    report: str

    @property
    def conversation(self) -> Conversation:
        messages = (
            Message("user", self.question),
            Message("assistant", reasoning=self.call_reasoning, calls=(self.call,)),
            Message("tool", self.response),
            Message("assistant", self.report, reasoning=self.report_reasoning),
        )
        return Conversation(messages, tools=tuple(tool.schema for tool in self.offered))


def make(rng: random.Random, split: Split) -> ToolExchange:
    """One question for one of some offered tools; its arguments decide whether it is held out."""
    chosen = rng.choice(TOOLS)
    offered = offer_with(rng, split, chosen=TOOLS.index(chosen))
    mine = next(tool for tool in offered if tool.tool is chosen)
    return ask_for(rng, split, mine=mine, offered=offered)


def make_conversation(rng: random.Random, split: Split) -> Conversation:
    """Mostly one tool exchange or two, some without any reasoning or with that of the call not sent back."""
    conversation = _draw_conversation(rng, split)
    drawn = rng.random()
    if drawn < _SILENT_SHARE:
        return replace(conversation, thinking=False)
    withheld = drawn < _SILENT_SHARE + _WITHHELD_SHARE
    return conversation.without_reasoning_of_calls if withheld else conversation


def _draw_conversation(rng: random.Random, split: Split) -> Conversation:
    """Sometimes the question needs none of the tools at hand."""
    if rng.random() < _NO_TOOL_SHARE:
        exchange = rng.choice((topics.make, arithmetic.make, words.make, smalltalk.make))(rng, split)
        offered = offer_with(rng, split, chosen=rng.randrange(len(TOOLS)))
        question = Message("user", roughen(rng, exchange.question))
        return Conversation((question, exchange.messages[1]), tools=tuple(tool.schema for tool in offered))
    asked = make(rng, split)
    if rng.random() >= _SECOND_SHARE:
        return asked.conversation
    earlier = ask_for(rng, split, mine=rng.choice(asked.offered), offered=asked.offered)
    return asked.conversation.after(earlier.conversation.messages)


def ask_for(
    rng: random.Random, split: Split, *, mine: OfferedTool, offered: tuple[OfferedTool, ...]
) -> ToolExchange:
    tool = mine.tool
    values = tool.draw_values(rng, split)
    response = tool.respond(rng, values)
    known = {**response, **values}
    question = tool.questions.pick(rng, split).format(**known)
    return ToolExchange(
        question=question if split is Split.HELD_OUT else roughen(rng, question),
        offered=offered,
        call=ToolCall(mine.name, mine.arguments(values)),
        call_reasoning=f"{tool.intention.format(**known)} I call {mine.name}.",
        response=response_text(response),
        report_reasoning="I have the result of the tool and answer with it.",
        report=tool.report.format(**known),
    )


def offer_with(rng: random.Random, split: Split, *, chosen: int) -> tuple[OfferedTool, ...]:
    """The chosen tool and some others, in any order."""
    others = [index for index in range(len(TOOLS)) if index != chosen]
    indices = [chosen, *rng.sample(others, rng.choice(_OTHERS[split]))]
    rng.shuffle(indices)
    return tuple(offer(TOOLS[index], rng, split) for index in indices)
