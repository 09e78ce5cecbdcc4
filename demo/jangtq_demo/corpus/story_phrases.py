"""Short stories that ask for a sum, a difference or a product. Calculates nothing."""

from typing import Final

from jangtq_demo.corpus.split import Phrases

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
        "{n} owns {a} {t} and gets {b} new ones. How many {t} does {n} own now?",
        "{n} finds {a} {t} and then {b} more. How many {t} does {n} have now?",
        "{n} keeps {a} {t} and receives {b} more as a present. How many {t} does {n} have?",
        "First {n} has {a} {t}, then {b} more arrive. How many {t} does {n} have now?",
        "{n} counts {a} {t} in one room and {b} in another. How many {t} are there?",
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
        "{n} had {a} {t} and dropped {b}. How many {t} does {n} still have?",
        "{n} owned {a} {t} and gave {b} back. How many {t} does {n} have left?",
        "{n} sold {b} of {a} {t}. How many {t} remain?",
        "From {a} {t}, {n} lost {b}. How many {t} does {n} have now?",
        "{n} had {a} {t} but broke {b}. How many {t} are left?",
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
        "{n} fills {b} bags with {a} {t} each. How many {t} are in the bags?",
        "{n} owns {b} baskets of {a} {t} each. How many {t} does {n} own?",
        "In each of {b} drawers {n} has {a} {t}. How many {t} is that?",
        "{n} orders {b} packs with {a} {t} in each. How many {t} does {n} order?",
        "{n} loads {b} carts with {a} {t} each. How many {t} are in the carts?",
    ),
    ("{n} fills {b} baskets with {a} {t} each. How many {t} are in the baskets?",),
)
