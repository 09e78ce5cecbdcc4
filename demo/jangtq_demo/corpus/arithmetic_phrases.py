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
    ),
    ("Tell me which is more, {a} or {b}.",),
)

NAMES: Final = (
    "Anna",
    "Ben",
    "Carla",
    "David",
    "Emma",
    "Felix",
    "Lena",
    "Max",
    "Nora",
    "Paul",
    "Sara",
    "Tom",
)
THINGS: Final = (
    "apples",
    "books",
    "coins",
    "stamps",
    "marbles",
    "pencils",
    "cards",
    "stones",
    "eggs",
    "nuts",
)
GAINING: Final = Phrases(
    (
        "{n} has {a} {t} and gets {b} more. How many {t} does {n} have now?",
        "{n} has {a} {t} and buys {b} more. How many {t} does {n} have?",
        "{n} had {a} {t} and then got {b} more. How many {t} are there now?",
        "There are {a} {t} in a box. {n} adds {b} more. How many {t} are in the box?",
        "{n} collects {a} {t} on one day and {b} on the next. How many {t} is that?",
    ),
    ("{n} owns {a} {t} and finds {b} more. How many {t} does {n} have now?",),
)
LOSING: Final = Phrases(
    (
        "{n} has {a} {t} and gives away {b}. How many {t} does {n} have now?",
        "{n} has {a} {t} and loses {b} of them. How many {t} does {n} have left?",
        "{n} had {a} {t} and gave {b} to a friend. How many {t} remain?",
        "There were {a} {t} on the table. {n} took {b} away. How many {t} are left?",
        "Of {a} {t}, {n} used {b}. How many {t} are left?",
    ),
    ("{n} had {a} {t} and sold {b}. How many {t} does {n} have left?",),
)
BAGGING: Final = Phrases(
    (
        "{n} has {b} bags with {a} {t} each. How many {t} does {n} have?",
        "{n} buys {b} boxes of {a} {t}. How many {t} does {n} have?",
        "{n} puts {a} {t} into each of {b} jars. How many {t} are in the jars?",
        "There are {b} shelves with {a} {t} each. How many {t} does {n} see?",
        "{n} gets {a} {t} every day for {b} days. How many {t} is that?",
        "{n} packs {b} crates with {a} {t} each. How many {t} are packed?",
    ),
    ("{n} fills {b} baskets with {a} {t} each. How many {t} are in the baskets?",),
)
