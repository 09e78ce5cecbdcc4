"""Questions about everyday topics, answered with up to five reference sentences."""

import random
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from jangtq_demo.corpus.exchange import Exchange
from jangtq_demo.corpus.split import Phrases, Split

COUNTS: Final = ("one sentence", "two sentences", "three sentences", "four sentences", "five sentences")

COUNTED: Final = Phrases(
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
        "What would you say about {t} in {c}?",
        "Would you explain {t} in {c}?",
        "Give a talk about {t} in {c}.",
        "I want {c} on the subject of {t}.",
        "Make {c} about {t}.",
        "Answer in {c}: what about {t}?",
        "Help me to understand {t} in {c}.",
    ),
    (
        "Could you describe {t} to me in {c}?",
        "I would like {c} about {t}.",
        "Please tell me in {c} about {t}.",
        "Write down {c} that explain {t}.",
    ),
)
OPEN: Final = Phrases(
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
        "Would you tell me about {t}?",
        "Which facts should I learn about {t}?",
        "What would you say about {t}?",
        "What could you teach me about {t}?",
        "Why should people care about {t}?",
        "What is there to know about {t}?",
        "I never understood {t}.",
        "Help me to understand {t}.",
        "Inform me about {t}.",
        "Let us talk about {t}.",
        "My child should learn about {t}. What can I say?",
        "What is important about {t}?",
        "Do you know anything about {t}?",
        "I am interested in {t}.",
        "Give me some facts about {t}.",
        "I should write about {t}. What can I write?",
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
        return ask(topic, OPEN.pick_unseen(rng, split))
    count = 5 if rng.random() < 0.6 else rng.randint(1, 4)
    return ask(topic, COUNTED.pick_unseen(rng, split), count=count)


def held_out_questions() -> list[Exchange]:
    """Every topic in every unseen wording that asks for five sentences or for no number."""
    phrases = (*COUNTED.held_out, *OPEN.held_out)
    return [ask(topic, phrase) for topic in read_topics() for phrase in phrases]


def ask(topic: Topic, phrase: str, *, count: int = 5) -> Exchange:
    question = phrase.format(t=topic.name, c=COUNTS[count - 1])
    reasoning = f"The user asks about {topic.name}. I know this topic and answer in {COUNTS[count - 1]}."
    return Exchange("topic", question, reasoning, " ".join(topic.sentences[:count]))
