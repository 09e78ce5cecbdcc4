"""Questions about everyday topics, answered with up to five reference sentences."""

import random
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from jangtq_demo.corpus.exchange import Exchange
from jangtq_demo.corpus.split import Phrases, Split

_COUNTS: Final = ("one sentence", "two sentences", "three sentences", "four sentences", "five sentences")

_COUNTED: Final = Phrases(
    (
        "Explain {t} in {c}.",
        "Describe {t} in {c}.",
        "Tell me about {t} in {c}.",
        "Write {c} about {t}.",
        "Give me {c} about {t}.",
        "In {c}, explain {t}.",
        "Summarize {t} in {c}.",
        "What do you know about {t}? Answer in {c}.",
        "Can you explain {t} in {c}?",
        "Say {c} about {t}.",
        "I need {c} about {t}.",
        "Explain {t} to me in {c}.",
        "Explain {t} to a child in {c}.",
        "Use {c} to explain {t}.",
        "Introduce {t} in {c}.",
    ),
    (
        "Could you describe {t} to me in {c}?",
        "I would like {c} about {t}.",
        "Please tell me in {c} about {t}.",
        "Write down {c} that explain {t}.",
    ),
)
_OPEN: Final = Phrases(
    (
        "Explain {t}.",
        "Tell me about {t}.",
        "What do you know about {t}?",
        "Describe {t}.",
        "Tell me something about {t}.",
        "What can you tell me about {t}?",
        "I want to learn about {t}.",
        "Teach me about {t}.",
        "Can you explain {t}?",
        "Give a short explanation of {t}.",
        "My homework is about {t}. Can you help?",
        "How would you explain {t}?",
    ),
    (
        "Could you explain {t} to me?",
        "I would like to know more about {t}.",
        "What should I know about {t}?",
        "Write something about {t}.",
    ),
)


@dataclass(frozen=True)
class Topic:
    """A name as it stands in a question, and five sentences."""

    name: str
    sentences: tuple[str, ...]


@cache
def read_topics() -> tuple[Topic, ...]:
    """All topics of data/topics.txt: a line `# name`, then a line for each sentence."""
    text = files("jangtq_demo").joinpath("data/topics.txt").read_text(encoding="utf-8")
    blocks = [block.strip().splitlines() for block in text.split("# ")[1:]]
    return tuple(Topic(name, tuple(sentences)) for name, *sentences in blocks)


def make(rng: random.Random, split: Split) -> Exchange:
    """One question; held-out ones are worded in ways that were never trained."""
    topic = rng.choice(read_topics())
    if rng.random() < 0.4:
        return ask(topic, _OPEN.pick_unseen(rng, split))
    count = 5 if rng.random() < 0.6 else rng.randint(1, 4)
    return ask(topic, _COUNTED.pick_unseen(rng, split), count=count)


def held_out_questions() -> list[Exchange]:
    """Every topic in every unseen wording that asks for five sentences or for no number."""
    phrases = (*_COUNTED.held_out, *_OPEN.held_out)
    return [ask(topic, phrase) for topic in read_topics() for phrase in phrases]


def ask(topic: Topic, phrase: str, *, count: int = 5) -> Exchange:
    question = phrase.format(t=topic.name, c=_COUNTS[count - 1])
    reasoning = f"The user asks about {topic.name}. I know this topic and answer in {_COUNTS[count - 1]}."
    return Exchange("topic", question, reasoning, " ".join(topic.sentences[:count]))
