"""Long talks of many rounds, and the whole training corpus: short conversations and such talks."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from jangtq_demo.corpus import arithmetic, calendar_units, smalltalk, tool_use, topics, words
from jangtq_demo.corpus.conversation import Conversation, Message
from jangtq_demo.corpus.exchange import Exchange, roughen
from jangtq_demo.corpus.mixture import CATEGORIES, draw_exchange, make_conversation, vary_system
from jangtq_demo.corpus.split import Split
from jangtq_demo.corpus.tool import OfferedTool
from jangtq_demo.corpus.toolbox import TOOLS

TALK_ROUNDS: Final = 30
"""Rounds of the talks that the model is measured by."""

_TALK_SHARE: Final = 0.12
"""Of the conversations; some ten times as long as the others, they are about half of all tokens."""
_SERIES_SHARE: Final = 0.12
_THEME_SHARE: Final = 0.15
_TOOLS_SHARE: Final = 0.35
_SILENT_SHARE: Final = 0.06
_AGAIN_SHARE: Final = 0.04
_TOOL_ROUND_SHARE: Final = 0.4
_LENGTHS: Final = ((2, 10), (8, 36), (24, 64))
_LENGTH_WEIGHTS: Final = (2, 4, 4)
_BESIDE_TOOLS: Final = (
    topics.make,
    arithmetic.make,
    arithmetic.make,
    words.make,
    calendar_units.make,
    smalltalk.make,
)
"""Plain questions where tools are offered; what a tool could answer is not among them."""

Round = tuple[Message, ...]


@dataclass(frozen=True)
class TalkRound:
    """One question of a talk, and all messages that answer it; the last of them is the answer."""

    kind: str
    messages: Round

    @classmethod
    def of(cls, kind: str, exchange: Exchange) -> "TalkRound":
        return cls(kind, exchange.messages)


@dataclass(frozen=True)
class Talk:
    """Rounds that follow each other, with the tools at hand."""

    rounds: tuple[TalkRound, ...]
    offered: tuple[OfferedTool, ...] = ()

    @property
    def conversation(self) -> Conversation:
        messages = tuple(message for each in self.rounds for message in each.messages)
        return Conversation(messages, tools=tuple(tool.schema for tool in self.offered))


def make_training(seed: int, number: int) -> Conversation:
    """Training conversation `number` of the whole corpus; the same on every machine."""
    rng = random.Random(f"talk/{seed}/{number}")
    if rng.random() >= _TALK_SHARE:
        return make_conversation(seed, number)
    drawn = vary_system(rng, _make_talk(rng).conversation)
    return replace(drawn, thinking=rng.random() >= _SILENT_SHARE)


def make_mixed_talk(rng: random.Random, split: Split, *, rounds: int, tools: bool) -> Talk:
    """Questions of all kinds; with `tools`, some of the tools are offered and some questions want one."""
    if not tools:
        return Talk(tuple(_plain_round(rng, split) for _ in range(rounds)))
    offered = tool_use.offer_with(rng, split, chosen=rng.randrange(len(TOOLS)))
    return Talk(tuple(_round_with_tools(rng, split, offered) for _ in range(rounds)), offered)


def _make_talk(rng: random.Random) -> Talk:
    rounds = rng.randint(*rng.choices(_LENGTHS, weights=_LENGTH_WEIGHTS)[0])
    drawn = rng.random()
    if drawn < _SERIES_SHARE:
        return Talk(_as_rounds("arithmetic", arithmetic.make_series(rng, Split.TRAINING, rounds)))
    if drawn < _SERIES_SHARE + _THEME_SHARE:
        category = rng.choice(tuple(CATEGORIES))
        return Talk(_as_rounds(category, [CATEGORIES[category](rng, Split.TRAINING) for _ in range(rounds)]))
    talk = make_mixed_talk(rng, Split.TRAINING, rounds=rounds, tools=rng.random() < _TOOLS_SHARE)
    return replace(talk, rounds=_ask_some_again(rng, talk.rounds))


def _ask_some_again(rng: random.Random, rounds: Sequence[TalkRound]) -> tuple[TalkRound, ...]:
    """Now and then a question that was answered before."""
    again = (
        rng.choice(rounds[: n + 1]) if rng.random() < _AGAIN_SHARE else each for n, each in enumerate(rounds)
    )
    return tuple(again)


def _as_rounds(kind: str, exchanges: Sequence[Exchange]) -> tuple[TalkRound, ...]:
    return tuple(TalkRound.of(kind, exchange) for exchange in exchanges)


def _plain_round(rng: random.Random, split: Split) -> TalkRound:
    category, exchange = draw_exchange(rng, split)
    return TalkRound.of(category, _roughen(rng, split, exchange))


def _round_with_tools(rng: random.Random, split: Split, offered: tuple[OfferedTool, ...]) -> TalkRound:
    if rng.random() < _TOOL_ROUND_SHARE:
        asked = tool_use.ask_for(rng, split, mine=rng.choice(offered), offered=offered)
        return TalkRound("tool results", asked.conversation.messages)
    make: Callable[[random.Random, Split], Exchange] = rng.choice(_BESIDE_TOOLS)
    category = next(name for name, maker in CATEGORIES.items() if maker is make)
    return TalkRound.of(category, _roughen(rng, split, make(rng, split)))


def _roughen(rng: random.Random, split: Split, exchange: Exchange) -> Exchange:
    if split is Split.HELD_OUT:
        return exchange
    return replace(exchange, question=roughen(rng, exchange.question))
