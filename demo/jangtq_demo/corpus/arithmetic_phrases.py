"""How questions of arithmetic are worded. Calculates nothing."""

from dataclasses import dataclass
from typing import Final

from jangtq_demo.corpus.split import Phrases


@dataclass(frozen=True)
class Operation:
    """How an operation is written, asked for and worked."""

    kind: str
    sign: str
    phrases: Phrases


_COMMON: Final = (
    "What is {a} {s} {b}?",
    "Calculate {a} {s} {b}.",
    "{a} {s} {b} = ?",
    "{a} {s} {b}",
    "{a}{s}{b}",
    "{a} {s} {b} =",
    "Compute {a} {s} {b}.",
    "Solve {a} {s} {b}.",
    "How much is {a} {s} {b}?",
    "What does {a} {s} {b} give?",
    "I need the result of {a} {s} {b}.",
    "Please do {a} {s} {b}.",
    "Do you know {a} {s} {b}?",
    "Can you calculate {a} {s} {b}?",
    "Can you solve {a} {s} {b} for me?",
    "Could you compute {a} {s} {b}?",
    "Could you tell me what {a} {s} {b} is?",
    "Tell me the result of {a} {s} {b}.",
    "Tell me what {a} {s} {b} is.",
    "Give me the result of {a} {s} {b}.",
    "Give me {a} {s} {b}.",
    "Find {a} {s} {b}.",
    "Find the value of {a} {s} {b}.",
    "Evaluate {a} {s} {b}.",
    "Work out {a} {s} {b}.",
    "Show me how to calculate {a} {s} {b}.",
    "I want to know {a} {s} {b}.",
    "What is the result of {a} {s} {b}?",
    "What comes out of {a} {s} {b}?",
    "What do you get for {a} {s} {b}?",
    "What does {a} {s} {b} equal?",
    "The question is {a} {s} {b}.",
    "{a} {s} {b} makes what?",
    "{a} {s} {b} equals?",
    "{a} {s} {b}?",
    "Result of {a} {s} {b}?",
    "Please calculate {a} {s} {b} step by step.",
    "Help me with {a} {s} {b}.",
)
_COMMON_HELD_OUT: Final = ("Can you work out {a} {s} {b} for me?", "Tell me the value of {a} {s} {b}.")

ADDITION: Final = Operation(
    "addition",
    "+",
    Phrases(
        (
            *_COMMON,
            "What is {a} plus {b}?",
            "Add {a} and {b}.",
            "What is the sum of {a} and {b}?",
            "Add {b} to {a}.",
            "What do {a} and {b} make?",
            "{a} plus {b}",
            "Sum up {a} and {b}.",
            "Can you add {a} and {b}?",
            "Add up {a} and {b}.",
            "{a} and {b} together?",
            "What is the total of {a} and {b}?",
            "Put {a} and {b} together.",
            "What do you get when you add {b} to {a}?",
            "What does {a} plus {b} make?",
            "Calculate {a} plus {b}.",
            "How much do {a} and {b} make together?",
        ),
        (*_COMMON_HELD_OUT, "How much is {a} plus {b}?"),
    ),
)
SUBTRACTION: Final = Operation(
    "subtraction",
    "-",
    Phrases(
        (
            *_COMMON,
            "What is {a} minus {b}?",
            "Subtract {b} from {a}.",
            "Take {b} away from {a}.",
            "{a} minus {b}",
            "What is left of {a} without {b}?",
            "What is the difference of {a} and {b}?",
            "Can you subtract {b} from {a}?",
            "Calculate {a} minus {b}.",
            "What do you get when you subtract {b} from {a}?",
            "What does {a} minus {b} give?",
            "Remove {b} from {a}.",
            "What remains of {a} when {b} is taken away?",
            "{a} less {b}?",
            "Deduct {b} from {a}.",
        ),
        (*_COMMON_HELD_OUT, "How much is {a} minus {b}?"),
    ),
)
MULTIPLICATION: Final = Operation(
    "multiplication",
    "x",
    Phrases(
        (
            *_COMMON,
            "What is {a} times {b}?",
            "Multiply {a} by {b}.",
            "What is {a} * {b}?",
            "{a} * {b}",
            "{a} times {b}",
            "Multiply {a} and {b}.",
            "What is the product of {a} and {b}?",
            "Can you multiply {a} by {b}?",
            "Calculate {a} times {b}.",
            "What do you get when you multiply {a} by {b}?",
            "What does {a} times {b} give?",
            "Find the product of {a} and {b}.",
            "{a} multiplied by {b}?",
            "Compute {a} * {b}.",
            "Calculate {a} * {b}.",
        ),
        (*_COMMON_HELD_OUT, "How much is {a} times {b}?"),
    ),
)
DIVISION: Final = Operation(
    "division",
    "/",
    Phrases(
        (
            *_COMMON,
            "What is {a} divided by {b}?",
            "Divide {a} by {b}.",
            "How often does {b} fit into {a}?",
            "{a} divided by {b}",
            "Share {a} by {b}.",
            "Split {a} into {b} parts.",
            "Can you divide {a} by {b}?",
            "Calculate {a} divided by {b}.",
            "What do you get when you divide {a} by {b}?",
            "What does {a} divided by {b} give?",
            "How often does {b} go into {a}?",
            "{a} over {b}?",
            "Divide {a} into {b} equal parts.",
        ),
        (*_COMMON_HELD_OUT, "How much is {a} divided by {b}?"),
    ),
)
COMPARISON: Final = Phrases(
    (
        "Which is larger, {a} or {b}?",
        "Is {a} or {b} larger?",
        "Which number is bigger: {a} or {b}?",
        "Compare {a} and {b}.",
        "Which of {a} and {b} is larger?",
        "What is greater, {a} or {b}?",
        "Find the larger of {a} and {b}.",
        "Which one is higher, {a} or {b}?",
        "Is {a} more than {b}?",
        "Is {a} less than {b}?",
        "Tell me the larger number: {a} or {b}.",
        "Say which number is greater, {a} or {b}.",
        "Tell me which of {a} and {b} is larger.",
        "{a} or {b}, which is more?",
        "Which is more, {a} or {b}?",
        "Which is the larger number, {a} or {b}?",
        "Between {a} and {b}, which is larger?",
        "Can you tell me which is bigger, {a} or {b}?",
        "What is more, {a} or {b}?",
        "{a} or {b}: which one is larger?",
    ),
    ("Tell me which is more, {a} or {b}.",),
)
