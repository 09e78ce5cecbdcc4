"""Arguments of tool calls, drawn so that held-out ones are never seen in training, and what tools return."""

import random

from jangtq_demo.corpus.split import Split, draw
from jangtq_demo.corpus.tool import Values
from jangtq_demo.corpus.vocabulary import CITIES, PEOPLE, invent_word, pick_name, pick_word


def draw_city(rng: random.Random, split: Split) -> Values:
    return {"city": pick_name(rng, split, CITIES)}


def draw_person(rng: random.Random, split: Split) -> Values:
    return {"name": pick_name(rng, split, PEOPLE)}


def draw_minutes(rng: random.Random, split: Split) -> Values:
    return {"minutes": draw(split, lambda: rng.randint(1, 180), key=lambda n: f"minutes {n}")}


def draw_money(rng: random.Random, split: Split) -> Values:
    source, target = rng.sample(("EUR", "USD", "GBP", "JPY", "CHF", "SEK", "NOK", "PLN"), 2)
    amount = draw(split, lambda: rng.randint(1, 9999), key=lambda n: f"amount {n}")
    return {"amount": amount, "source": source, "target": target}


def draw_message(rng: random.Random, split: Split) -> Values:
    return {"name": pick_name(rng, split, PEOPLE), "text": _draw_text(rng, split)}


def draw_reminder(rng: random.Random, split: Split) -> Values:
    return {"text": _draw_task(rng, split), "time": draw(split, lambda: draw_time(rng), key=str)}


def draw_translation(rng: random.Random, split: Split) -> Values:
    language = rng.choice(("French", "German", "Spanish", "Italian", "Dutch", "Polish", "Turkish", "Latin"))
    return {"word": pick_word(rng, split), "language": language}


def draw_expression(rng: random.Random, split: Split) -> Values:
    def expression() -> str:
        sign = rng.choice("+-*")
        return f"{rng.randint(10, 9999)} {sign} {rng.randint(10, 9999)}"

    return {"expression": draw(split, expression, key=str)}


def draw_title(rng: random.Random, split: Split) -> Values:
    return {"title": draw(split, lambda: _name_song(rng), key=str)}


def draw_time(rng: random.Random) -> str:
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"


def _name_song(rng: random.Random) -> str:
    return f"{invent_word(rng)} {invent_word(rng)}".title()


def _draw_text(rng: random.Random, split: Split) -> str:
    phrase = rng.choice(
        (
            "I am late",
            "see you at {t}",
            "we meet at {t}",
            "please bring the {w}",
            "the {w} is ready",
            "I found the {w}",
            "call me at {t}",
            "where is the {w}",
        )
    )
    return phrase.format(t=draw_time(rng), w=pick_word(rng, split))


def _draw_task(rng: random.Random, split: Split) -> str:
    phrase = rng.choice(
        ("buy {w}", "call {p}", "water the {w}", "clean the {w}", "visit {p}", "look for the {w}")
    )
    return phrase.format(w=pick_word(rng, split), p=pick_name(rng, split, PEOPLE))


def return_weather(rng: random.Random, values: Values) -> Values:
    sky = rng.choice(("sunny", "cloudy", "rainy", "windy", "foggy", "snowy", "clear", "stormy"))
    return {"city": values["city"], "temperature": rng.randint(-15, 39), "sky": sky}


def return_calculation(rng: random.Random, values: Values) -> Values:
    left, sign, right = str(values["expression"]).split()
    a, b = int(left), int(right)
    return {"result": a + b if sign == "+" else a - b if sign == "-" else a * b}


def return_done(rng: random.Random, values: Values) -> Values:
    return {"status": "ok"}
