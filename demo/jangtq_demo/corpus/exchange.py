"""A question with the reasoning and the answer to learn. Knows no tools and no turn format."""

import random
from dataclasses import dataclass
from typing import Final

from jangtq_demo.corpus.conversation import Message

_OPENERS: Final = (
    "Please ",
    "Hi! ",
    "Hello, ",
    "Hey, ",
    "Ok. ",
    "Now ",
    "Can you help? ",
    "I have a question. ",
    "Quick question: ",
    "Next one: ",
    "One more: ",
    "And ",
    "So, ",
    "Well, ",
    "I would like to know: ",
    "My teacher asks: ",
    "For my homework: ",
    "Dear assistant, ",
    "Do this: ",
    "Tell me: ",
)
_CLOSERS: Final = (
    "please",
    "for me",
    "now",
    "today",
    "again",
    "at the moment",
    "for my friend",
    "if you can",
    "quickly",
    "this time",
    "then",
    "my friend",
    "right away",
    "once more",
    "this evening",
    "tonight",
    "just now",
    "as soon as you can",
    "if possible",
    "before lunch",
)
_AFTERWORDS: Final = ("Thanks!", "Thank you.", "Please.", "I need it soon.", "Be careful.", "Take your time.")


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
    """Now and then the question as people put it: words around it, small letters, no full stop."""
    if rng.random() < 0.15 and question.endswith((".", "?")):
        question = f"{question[:-1]} {rng.choice(_CLOSERS)}{question[-1]}"
    if rng.random() < 0.08:
        question = f"{question} {rng.choice(_AFTERWORDS)}"
    if rng.random() < 0.1 and question.endswith((".", "?")):
        question = question[:-1]
    if rng.random() < 0.1:
        question = question[0].lower() + question[1:]
    if rng.random() < 0.2:
        question = rng.choice(_OPENERS) + question
    return question
