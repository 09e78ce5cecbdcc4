"""Lists of words for questions, and made-up words and names, so that copying is learned and not single words."""

import random
from functools import cache
from importlib.resources import files
from typing import Final

from jangtq_demo.corpus.split import Split, draw, pick

_ONSETS: Final = (
    "b br c ch cl d dr f fl g gl gr h j k kr l m n p pl pr qu r s sc sh sk sl sn sp st str t th tr v w x y z"
).split()
_VOWELS: Final = "a a e e i i o o u u ai au ea ee ie oa oo ou y".split()
_OPEN_SHARE: Final = 0.12
_LISTED_SHARE: Final = {Split.TRAINING: 0.35, Split.HELD_OUT: 0.5}
_CODAS: Final = ("",) * 8 + tuple("b ck d ff g k l ll m n nd ng nt p r rd rm rt s ss st t tt x".split())

CITIES: Final = (
    "Amsterdam Athens Atlanta Auckland Baghdad Bangkok Barcelona Beijing Belgrade Berlin Bogota Bonn Boston Bremen "
    "Brisbane Brussels Bucharest Budapest Cairo Cardiff Chicago Cologne Copenhagen Dakar Dallas Delhi Denver Dresden "
    "Dublin Durban Edinburgh Florence Geneva Genoa Ghent Glasgow Graz Hamburg Hanoi Helsinki Houston Istanbul "
    "Jakarta Kiel Kyoto Lagos Leeds Leipzig Lima Lisbon Liverpool London Lyon Madrid Manila Marseille Melbourne "
    "Milan Montreal Moscow Mumbai Munich Nairobi Naples Nice Osaka Oslo Ottawa Oxford Palermo Paris Perth Porto "
    "Prague Quito Riga Rome Rotterdam Santiago Seattle Seoul Seville Shanghai Singapore Sofia Stockholm Sydney "
    "Tallinn Tokyo Toronto Tunis Turin Utrecht Valencia Venice Vienna Vilnius Warsaw York Zagreb Zurich"
).split()
PEOPLE: Final = (
    "Adam Alice Amir Anna Anton Bella Ben Bruno Carla Clara Daniel David Elena Emma Erik Eva Fatima Felix Frank "
    "Greta Hannah Hugo Ida Igor Ines Ivan Jacob Jane Julia Karim Kate Laura Leo Lena Lisa Louis Lucy Marco Maria "
    "Martin Max Mia Mira Nadia Nina Noah Nora Olga Oscar Otto Paul Peter Rita Robert Rosa Ruth Sam Sara Simon Sofia "
    "Stella Tara Theo Tina Tom Uma Vera Victor Wanda Yusuf Zoe"
).split()


@cache
def real_words() -> tuple[str, ...]:
    return tuple(files("jangtq_demo").joinpath("data/words.txt").read_text(encoding="utf-8").split())


def invent_word(rng: random.Random) -> str:
    """A word that can be said, of one to three syllables, in no dictionary."""
    word = "".join(_syllable(rng) for _ in range(rng.choice((1, 2, 2, 2, 3))))
    return rng.choice("aeiou") + word if rng.random() < _OPEN_SHARE else word


def pick_word(rng: random.Random, split: Split) -> str:
    """A real word in half of the cases, otherwise a made-up one of three to nine letters."""
    if rng.random() < 0.5:
        return pick(rng, split, real_words())
    return draw(split, lambda: _invent_between(rng, 3, 9), key=str)


def pick_name(rng: random.Random, split: Split, names: tuple[str, ...] | list[str]) -> str:
    """A name from the list, or a made-up one; more of those in training, where they teach to copy."""
    if rng.random() < _LISTED_SHARE[split]:
        return pick(rng, split, names)
    return draw(split, lambda: _invent_name(rng), key=str)


def _invent_name(rng: random.Random) -> str:
    """Like a city or a person; now and then of two words."""
    name = _invent_between(rng, 3, 9).capitalize()
    return f"{name} {_invent_between(rng, 3, 7).capitalize()}" if rng.random() < 0.15 else name


def _invent_between(rng: random.Random, least: int, most: int) -> str:
    while not least <= len(word := invent_word(rng)) <= most:
        pass
    return word


def _syllable(rng: random.Random) -> str:
    return rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
