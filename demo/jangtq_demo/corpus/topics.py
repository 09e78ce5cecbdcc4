"""Questions about everyday topics, answered with up to five reference sentences."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from jangtq_demo.corpus.exchange import Exchange
from jangtq_demo.corpus.split import Split
from jangtq_demo.corpus.topic_phrases import COUNTED, COUNTS, DIGIT_COUNTS, NAMING, OPEN

_DIGITS_SHARE: Final = 0.2
_NAMING_SHARE: Final = 0.12
_IRREGULAR: Final = ("fish", "teeth")


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


@cache
def topic_words() -> tuple[str, ...]:
    """The words of all sentences in small letters, in the alphabet's order."""
    sentences = " ".join(sentence for topic in read_topics() for sentence in topic.sentences)
    return tuple(sorted(set(re.findall(r"[a-z]+", sentences.lower()))))


def make(rng: random.Random, split: Split) -> Exchange:
    """One question; held-out ones are worded in ways that were never trained."""
    topic = rng.choice(read_topics())
    if rng.random() < 0.4:
        return ask(topic, _pick_open(rng, split).replace("{is}", verb_of(topic.name)))
    count = 5 if rng.random() < 0.6 else rng.randint(1, 4)
    written = DIGIT_COUNTS if split is Split.TRAINING and rng.random() < _DIGITS_SHARE else COUNTS
    return ask(topic, COUNTED.pick_unseen(rng, split), count=count, written=written)


def _pick_open(rng: random.Random, split: Split) -> str:
    """A wording without a number of sentences; `{is}` may stand in it."""
    naming = split is Split.TRAINING and rng.random() < _NAMING_SHARE
    return rng.choice(NAMING) if naming else OPEN.pick_unseen(rng, split)


def verb_of(name: str) -> str:
    """Whether one says that the topic `is` or that they `are`."""
    plural = name in _IRREGULAR or (name.endswith("s") and not name.endswith(("ss", "sis", "ics")))
    return "are" if plural else "is"


def held_out_questions() -> list[Exchange]:
    """Every topic in every unseen wording that asks for five sentences or for no number."""
    phrases = (*COUNTED.held_out, *OPEN.held_out)
    return [ask(topic, phrase) for topic in read_topics() for phrase in phrases]


def ask(topic: Topic, phrase: str, *, count: int = 5, written: Sequence[str] = COUNTS) -> Exchange:
    """The topic in a wording, with the number of sentences as `written` names it."""
    question = phrase.format(t=topic.name, c=written[count - 1])
    reasoning = f"The user asks about {topic.name}. I know this topic and answer in {COUNTS[count - 1]}."
    return Exchange("topic", question[0].upper() + question[1:], reasoning, " ".join(topic.sentences[:count]))
