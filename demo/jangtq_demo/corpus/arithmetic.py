"""Questions of arithmetic with worked steps: the four operations, comparisons and short stories."""

import itertools
import random

from jangtq_demo.corpus.arithmetic_phrases import (
    ADDITION,
    COMPARISON,
    DIVISION,
    MULTIPLICATION,
    SUBTRACTION,
    Operation,
)
from jangtq_demo.corpus.exchange import Exchange
from jangtq_demo.corpus.split import Split, draw, is_held_out
from jangtq_demo.corpus.story_phrases import BAGGING, GAINING, LOSING, NAMES, THINGS
from jangtq_demo.corpus.worked import Worked, add, divide, multiply, subtract


def make(rng: random.Random, split: Split) -> Exchange:
    """One question of arithmetic; the operands decide whether it is held out."""
    makers = (_addition, _subtraction, _multiplication, _division, _story, _comparison)
    maker = rng.choices(makers, weights=(5, 5, 5, 4, 3, 1))[0]
    return maker(rng, split)


def _addition(rng: random.Random, split: Split) -> Exchange:
    a, b = _operands(rng, split, ADDITION, most=4)
    return _exchange(ADDITION, (a, b), add(a, b), ADDITION.phrases.pick(rng, split))


def make_series(rng: random.Random, split: Split, count: int) -> list[Exchange]:
    """Sums that are asked one after another in the same words, of operands that differ little."""
    phrase = ADDITION.phrases.pick(rng, split)
    first, second = _number(rng, 2, 4), _number(rng, 2, 4)
    steps = rng.randint(0, 3), rng.randint(1, 3)
    pairs = ((first + n * steps[0], second + n * steps[1]) for n in itertools.count())
    wanted = (pair for pair in pairs if is_held_out(_key(ADDITION, pair)) == (split is Split.HELD_OUT))
    return [_exchange(ADDITION, pair, add(*pair), phrase) for pair in itertools.islice(wanted, count)]


def _subtraction(rng: random.Random, split: Split) -> Exchange:
    a, b = _operands(rng, split, SUBTRACTION, most=4)
    if a < b and rng.random() < 0.8:
        a, b = b, a
    return _exchange(SUBTRACTION, (a, b), subtract(a, b), SUBTRACTION.phrases.pick(rng, split))


def _multiplication(rng: random.Random, split: Split) -> Exchange:
    if rng.random() < 0.35:
        a, b = _operands(rng, split, MULTIPLICATION, most=2, least=2)
    else:
        a, b = _operands(rng, split, MULTIPLICATION, most=4, second=1)
    return _exchange(MULTIPLICATION, (a, b), multiply(a, b), MULTIPLICATION.phrases.pick(rng, split))


def _division(rng: random.Random, split: Split) -> Exchange:
    def pair() -> tuple[int, int]:
        a, b = _number(rng, 1, 4), rng.randint(2, 9)
        return (a - a % b if rng.random() < 0.4 else a), b

    a, b = draw(split, pair, key=lambda drawn: _key(DIVISION, drawn))
    rest = f" rest {a % b}" if a % b else ""
    question = DIVISION.phrases.pick(rng, split).format(a=a, b=b, s="/")
    return Exchange("division", question, divide(a, b).text, f"{a} / {b} = {a // b}{rest}.")


def _story(rng: random.Random, split: Split) -> Exchange:
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    kind = rng.choice((ADDITION, SUBTRACTION, MULTIPLICATION))
    second = 1 if kind is MULTIPLICATION else 0
    a = b = 0
    while min(a, b) < 2:
        a, b = _operands(rng, split, kind, most=3, second=second)
    if kind is SUBTRACTION:
        a, b = max(a, b), min(a, b)
    phrases = {"addition": GAINING, "subtraction": LOSING, "multiplication": BAGGING}[kind.kind]
    worked = {"addition": add, "subtraction": subtract, "multiplication": multiply}[kind.kind](a, b)
    question = phrases.pick(rng, split).format(n=name, t=thing, a=a, b=b)
    reasoning = f"This is {a} {kind.sign} {b}.\n{worked.text}"
    return Exchange("story", question, reasoning, f"{name} has {worked.result} {thing}.")


def _comparison(rng: random.Random, split: Split) -> Exchange:
    def pair() -> tuple[int, int]:
        a = _number(rng, 1, 4)
        b = _number(rng, len(str(a)), len(str(a))) if rng.random() < 0.6 else _number(rng, 1, 4)
        return (a, b) if a != b else (a, a + 1)

    a, b = draw(split, pair, key=lambda p: f"compare {min(p)} {max(p)}")
    small, large = min(a, b), max(a, b)
    return Exchange(
        "comparison",
        COMPARISON.pick(rng, split).format(a=a, b=b),
        f"{_digit_comparison(a, b)}\nSo {large} is larger.",
        f"{large} is larger than {small}.",
    )


def _digit_comparison(a: int, b: int) -> str:
    left, right = str(a), str(b)
    if len(left) != len(right):
        return f"{a} has {len(left)} digits and {b} has {len(right)}."
    place = next(i for i, (x, y) in enumerate(zip(left, right, strict=True)) if x != y)
    equal = "".join(f"{x} and {x} are equal.\n" for x in left[:place])
    order = "less" if left[place] < right[place] else "more"
    return f"Both have {len(left)} digits.\n{equal}{left[place]} is {order} than {right[place]}."


def _number(rng: random.Random, least: int, most: int) -> int:
    """A number of `least` to `most` digits, every count of digits equally likely (longer ones a little more)."""
    count = max(rng.randint(least, most), rng.randint(least, most))
    return rng.randint(10 ** (count - 1) if count > 1 else 0, 10**count - 1)


def _operands(
    rng: random.Random, split: Split, operation: Operation, *, most: int, least: int = 1, second: int = 0
) -> tuple[int, int]:
    """Two numbers of `least` to `most` digits; with `second`, the other one has so many digits."""
    return draw(
        split,
        lambda: (_number(rng, least, most), _number(rng, second or least, second or most)),
        key=lambda pair: _key(operation, pair),
    )


def _key(operation: Operation, pair: tuple[int, int]) -> str:
    """The same for a and b in either order, except for division."""
    a, b = pair if operation is DIVISION else sorted(pair)
    return f"{operation.kind} {a} {b}"


def _exchange(operation: Operation, pair: tuple[int, int], worked: Worked, phrase: str) -> Exchange:
    a, b = pair
    question = phrase.format(a=a, b=b, s=operation.sign)
    return Exchange(operation.kind, question, worked.text, f"{a} {operation.sign} {b} = {worked.result}.")
