"""A question with the reasoning and the answer to learn. Knows no tools and no turn format."""

import random
from dataclasses import dataclass
from typing import Final

from jangtq_demo.corpus.conversation import Message

_OPENERS: Final = ("Please ", "Hi! ", "Hello, ", "Hey, ", "Ok. ", "Now ", "Can you help? ")


@dataclass(frozen=True)
class Exchange:
    """One question and its answer. `kind` names the task within its category."""

    kind: str
    question: str
    reasoning: str
    answer: str

    @property
    def messages(self) -> tuple[Message, Message]:
        return (
            Message("user", self.question),
            Message("assistant", self.answer, reasoning=self.reasoning),
        )


def roughen(rng: random.Random, question: str) -> str:
    """Now and then the question as people type it: small letters, no full stop, a word before it."""
    if rng.random() < 0.1 and question.endswith((".", "?")):
        question = question[:-1]
    if rng.random() < 0.08:
        question = question[0].lower() + question[1:]
    if rng.random() < 0.08:
        question = rng.choice(_OPENERS) + question
    return question
