"""Questions about weekdays, months, dates and units, with the steps that lead to the answer."""

import random
from typing import Final

from jangtq_demo.corpus.exchange import Exchange
from jangtq_demo.corpus.split import Phrases, Split, draw
from jangtq_demo.corpus.worked import multiply

_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    ("January", 31),
    ("February", 28),
    ("March", 31),
    ("April", 30),
    ("May", 31),
    ("June", 30),
    ("July", 31),
    ("August", 31),
    ("September", 30),
    ("October", 31),
    ("November", 30),
    ("December", 31),
)
_UNITS: Final = (
    ("kilometres", "metres", 1000),
    ("metres", "centimetres", 100),
    ("centimetres", "millimetres", 10),
    ("kilograms", "grams", 1000),
    ("tons", "kilograms", 1000),
    ("litres", "millilitres", 1000),
    ("hours", "minutes", 60),
    ("minutes", "seconds", 60),
    ("days", "hours", 24),
    ("weeks", "days", 7),
    ("years", "months", 12),
    ("euros", "cents", 100),
)
_WEEKDAY: Final = Phrases(
    (
        "What day is it {n} days after {d}?",
        "Today is {d}. What day is it in {n} days?",
        "Which weekday comes {n} days after {d}?",
        "It is {d}. Which day is it {n} days later?",
        "What weekday is {n} days from {d}?",
        "Count {n} days on from {d}.",
        "Today is {d}. Which weekday is it {n} days from now?",
        "Today is {d}. What day comes in {n} days?",
        "If it is {d} now, what day is it in {n} days?",
        "If today is {d}, what day is it after {n} days?",
        "Given that it is {d}, which weekday is {n} days later?",
        "Go {n} days forward from {d}.",
        "Which day of the week is {n} days after {d}?",
        "Starting on {d}, which day is it after {n} days?",
        "{n} days after {d} is which day?",
    ),
    ("If today is {d}, which day will it be in {n} days?",),
)
_DATE: Final = Phrases(
    (
        "What date is {n} days after {d} {m}?",
        "Which date comes {n} days after {d} {m}?",
        "Today is {d} {m}. What is the date in {n} days?",
        "Add {n} days to {d} {m}.",
        "What is the date {n} days from {d} {m}?",
        "Starting on {d} {m}, which date is it after {n} days?",
        "Which day is {n} days after {d} {m}?",
        "It is {d} {m} today. What date is it in {n} days?",
        "It is {d} {m}. What is the date {n} days from now?",
        "If today is {d} {m}, what date is it in {n} days?",
        "{n} days after {d} {m} is which date?",
        "Tell me the date {n} days after {d} {m}.",
        "Go {n} days forward from {d} {m}.",
        "Count {n} days from {d} {m}.",
        "From {d} {m}, which date is {n} days later?",
    ),
    ("It is {d} {m}. Which date is it {n} days later?",),
)
_CONVERSION: Final = Phrases(
    (
        "How many {s} are {n} {l}?",
        "Convert {n} {l} to {s}.",
        "How many {s} are in {n} {l}?",
        "What is {n} {l} in {s}?",
        "Give me {n} {l} in {s}.",
        "{n} {l} in {s}?",
        "How many {s} do {n} {l} have?",
        "Change {n} {l} into {s}.",
        "Turn {n} {l} into {s}.",
        "Can you convert {n} {l} to {s}?",
        "Tell me how many {s} are in {n} {l}.",
        "{n} {l} are how many {s}?",
        "How much is {n} {l} in {s}?",
        "Write {n} {l} in {s}.",
        "Say {n} {l} in {s}.",
        "I have {n} {l}. How many {s} is that?",
        "Calculate {n} {l} in {s}.",
        "Show {n} {l} in {s}.",
        "Convert {n} {l} into {s}.",
    ),
    ("Express {n} {l} in {s}.",),
)
_LEAP: Final = Phrases(
    (
        "Is {y} a leap year?",
        "Does {y} have 366 days?",
        "Is the year {y} a leap year?",
        "Tell me if {y} is a leap year.",
        "Leap year or not: {y}?",
        "Was {y} a leap year?",
        "Will {y} be a leap year?",
        "Check if {y} is a leap year.",
        "Can you tell me if {y} is a leap year?",
        "Is {y} a leap year or not?",
        "Has {y} got a 29 February?",
        "Does February {y} have 29 days?",
        "I want to know if {y} is a leap year.",
    ),
    ("Was or is {y} a leap year?",),
)

_MONTH: Final = Phrases(
    (
        "How many days does {m} have?",
        "How long is {m}?",
        "How many days are in {m}?",
        "Days in {m}?",
        "How many days are there in {m}?",
        "What is the number of days in {m}?",
        "Tell me how many days {m} has.",
        "What is the length of {m}?",
        "How many days long is {m}?",
        "Count the days of {m}.",
        "Can you tell me how long {m} is?",
        "Number of days in {m}?",
    ),
    ("How many days has {m}?",),
)


def make(rng: random.Random, split: Split) -> Exchange:
    """One question; the numbers in it decide whether it is held out."""
    makers = (_weekday, _date, _conversion, _leap_year, _month_length)
    return rng.choices(makers, weights=(3, 4, 6, 1, 1))[0](rng, split)


def _weekday(rng: random.Random, split: Split) -> Exchange:
    start, count = draw(
        split, lambda: (rng.randrange(7), rng.randint(1, 60)), key=lambda drawn: f"weekday {drawn}"
    )
    rest = count % 7
    walked = [_WEEKDAYS[(start + step) % 7] for step in range(rest + 1)]
    walk = ", ".join(f"{step} {day}" for step, day in enumerate(walked))
    reasoning = f"{count} / 7 = {count // 7} rest {rest}.\nI go {rest} days on: {walk}."
    question = _WEEKDAY.pick(rng, split).format(n=count, d=_WEEKDAYS[start])
    return Exchange("weekday", question, reasoning, f"It is {walked[-1]}.")


def _date(rng: random.Random, split: Split) -> Exchange:
    def drawn() -> tuple[int, int, int]:
        month = rng.randrange(12)
        return month, rng.randint(1, _MONTHS[month][1]), rng.randint(1, 28)

    month, day, count = draw(split, drawn, key=lambda key: f"date {key}")
    name, length = _MONTHS[month]
    total = day + count
    reasoning = f"{name} has {length} days.\n{day} + {count} = {total}."
    if total > length:
        following = _MONTHS[(month + 1) % 12][0]
        reasoning += (
            f"\n{total} is more than {length}.\n{total} - {length} = {total - length}, in {following}."
        )
        total, name = total - length, following
    else:
        reasoning += f"\n{total} is not more than {length}."
    question = _DATE.pick(rng, split).format(n=count, d=day, m=_MONTHS[month][0])
    return Exchange("date", question, reasoning, f"It is {total} {name}.")


def _conversion(rng: random.Random, split: Split) -> Exchange:
    def drawn() -> tuple[int, int]:
        return rng.randrange(len(_UNITS)), rng.randint(2, 99)

    unit, count = draw(split, drawn, key=lambda key: f"convert {key}")
    large, small, factor = _UNITS[unit]
    rule = f"There are {factor} {small} in every one of the {large}."
    reasoning = f"{rule}\n{_scaling(count, factor)}"
    question = _CONVERSION.pick(rng, split).format(n=count, l=large, s=small)
    return Exchange("units", question, reasoning, f"{count} {large} are {count * factor} {small}.")


def _scaling(count: int, factor: int) -> str:
    if factor in (10, 100, 1000):
        return f"{count} and then {'0 ' * (len(str(factor)) - 1)}is {count * factor}."
    return multiply(count, factor).text


def _leap_year(rng: random.Random, split: Split) -> Exchange:
    year = draw(split, lambda: rng.randint(1904, 2096), key=lambda drawn: f"leap {drawn}")
    two, rest = year % 100, year % 4
    reasoning = f"The last two digits are {two:02}. {two} / 4 = {two // 4} rest {rest}."
    verdict = "is a leap year" if rest == 0 else "is not a leap year"
    return Exchange("leap year", _LEAP.pick(rng, split).format(y=year), reasoning, f"{year} {verdict}.")


def _month_length(rng: random.Random, split: Split) -> Exchange:
    name, length = rng.choice(_MONTHS)
    reasoning = f"The user asks for the length of {name}."
    more = ", and 29 in leap years" if length == 28 else ""
    question = _MONTH.pick_unseen(rng, split).format(m=name)
    return Exchange("month", question, reasoning, f"{name} has {length} days{more}.")
