"""Short conversations: how often each category comes, and a training conversation for every number."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from jangtq_demo.corpus import arithmetic, calendar_units, refusals, smalltalk, tool_use, topics, words
from jangtq_demo.corpus.conversation import DEFAULT_SYSTEM, Conversation, Message
from jangtq_demo.corpus.exchange import Exchange, roughen
from jangtq_demo.corpus.split import Split

Maker = Callable[[random.Random, Split], Exchange]

CATEGORIES: Final[Mapping[str, Maker]] = {
    "arithmetic": arithmetic.make,
    "words": words.make,
    "calendar and units": calendar_units.make,
    "topics": topics.make,
    "greetings": smalltalk.make,
    "refusals": refusals.make,
}
_WEIGHTS: Final = (33, 18, 12, 20, 3, 9)
_TOOLS_SHARE: Final = 0.28
_HISTORY_SHARE: Final = 0.12
_SILENT_SHARE: Final = 0.06
_OTHER_SYSTEM_SHARE: Final = 0.1
_OTHER_SYSTEMS: Final = (
    "You are a friendly assistant.",
    "You are a helpful assistant. Answer shortly.",
    "You are an assistant that answers questions.",
    "Help the user.",
    "You are MiniMax, a helpful assistant.",
    "Be brief and precise.",
)


def make_conversation(seed: int, number: int) -> Conversation:
    """Short training conversation `number` of the corpus with this seed; the same on every machine."""
    rng = random.Random(f"{seed}/{number}")
    drawn = tool_use.make_conversation(rng, Split.TRAINING) if rng.random() < _TOOLS_SHARE else _plain(rng)
    drawn = vary_system(rng, drawn)
    if rng.random() < _HISTORY_SHARE:
        drawn = drawn.after(_history(rng))
    return drawn


def vary_system(rng: random.Random, conversation: Conversation) -> Conversation:
    """Now and then under another system message."""
    if rng.random() >= _OTHER_SYSTEM_SHARE:
        return conversation
    return replace(conversation, system=rng.choice(_OTHER_SYSTEMS))


def in_conversation(exchange: Exchange) -> Conversation:
    return Conversation(exchange.messages, system=DEFAULT_SYSTEM)


def _plain(rng: random.Random) -> Conversation:
    _, exchange = draw_exchange(rng, Split.TRAINING)
    conversation = in_conversation(replace(exchange, question=roughen(rng, exchange.question)))
    return replace(conversation, thinking=rng.random() >= _SILENT_SHARE)


def _history(rng: random.Random) -> list[Message]:
    """One or two answered questions, as they stand before the last one."""
    exchanges = [draw_exchange(rng, Split.TRAINING)[1] for _ in range(rng.choice((1, 1, 2)))]
    return [message for exchange in exchanges for message in exchange.messages]


def draw_exchange(rng: random.Random, split: Split) -> tuple[str, Exchange]:
    """A category, as often as each comes, and a question of it."""
    category = rng.choices(tuple(CATEGORIES), weights=_WEIGHTS)[0]
    return category, CATEGORIES[category](rng, split)
