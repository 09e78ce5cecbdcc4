"""Arguments of tool calls, drawn so that held-out ones are never seen in training, and what tools return."""

import random
from typing import Final

from jangtq_demo.corpus.split import Split, draw, pick
from jangtq_demo.corpus.tool import Values
from jangtq_demo.corpus.topics import topic_words
from jangtq_demo.corpus.vocabulary import CITIES, PEOPLE, invent_word, pick_name, pick_word

_LOOSE_SHARE: Final = 0.5
_MOST_WORDS: Final = {Split.TRAINING: 6, Split.HELD_OUT: 4}
_LANGUAGES: Final = (
    "French German Spanish Italian Dutch Polish Turkish Latin Danish Swedish Finnish Greek Japanese Russian Arabic "
    "Portuguese Hungarian Korean"
).split()
_DOING: Final = (
    "bring bake borrow build carry catch change check close collect count cut draw drive eat "
    "feed fetch find fix fold get give hide hold invite join learn leave lend make meet mend move "
    "open park pay pick plant pull push put read repair return sell send sing start "
    "study take teach thank turn wait wash wear write"
).split()
_GLUE: Final = (
    "a about after again all always and at away back before but come could do down every first for from go good have "
    "he her here his how I if in into is it last let like many me more much my near new next no not now of off "
    "old on only or our out over please ready right she so some soon than that the their them then there they this to "
    "today tomorrow tonight too two under until up us very was we well were what when who will with you your"
).split()


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
    language = rng.choice(_LANGUAGES)
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
    words = [invent_word(rng) for _ in range(rng.choice((1, 2, 2, 2, 3)))]
    return " ".join(words).title()


def _draw_text(rng: random.Random, split: Split) -> str:
    if rng.random() < _LOOSE_SHARE:
        return _draw_words(rng, split)
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
    if rng.random() < _LOOSE_SHARE:
        return f"{rng.choice(_DOING)} {_draw_words(rng, split)}"
    phrase = rng.choice(
        ("buy {w}", "call {p}", "water the {w}", "clean the {w}", "visit {p}", "look for the {w}")
    )
    return phrase.format(w=pick_word(rng, split), p=pick_name(rng, split, PEOPLE))


def _draw_words(rng: random.Random, split: Split) -> str:
    """Words in no sensible order, so that copying is learned whatever is said."""
    words = (
        rng.choice(_GLUE),
        *(
            pick(rng, split, topic_words()) if rng.random() < 0.5 else pick_word(rng, split)
            for _ in range(rng.randint(1, _MOST_WORDS[split]))
        ),
    )
    return " ".join(rng.sample(words, len(words)))


def return_weather(rng: random.Random, values: Values) -> Values:
    sky = rng.choice(("sunny", "cloudy", "rainy", "windy", "foggy", "snowy", "clear", "stormy"))
    return {"city": values["city"], "temperature": rng.randint(-15, 39), "sky": sky}


def return_calculation(rng: random.Random, values: Values) -> Values:
    left, sign, right = str(values["expression"]).split()
    a, b = int(left), int(right)
    return {"result": a + b if sign == "+" else a - b if sign == "-" else a * b}


def return_done(rng: random.Random, values: Values) -> Values:
    return {"status": "ok"}
