"""Questions about words and lists: spelling, spelling backwards, counting letters, sorting numbers."""

import random
from typing import Final

from jangtq_demo.corpus.exchange import Exchange
from jangtq_demo.corpus.split import Phrases, Split, draw
from jangtq_demo.corpus.vocabulary import pick_word

_SPELLING: Final = Phrases(
    (
        'Spell "{w}".',
        'Spell the word "{w}".',
        'How do you spell "{w}"?',
        'How is "{w}" spelled?',
        'How do I write "{w}"?',
        'Name the letters of "{w}".',
        'Which letters are in "{w}"?',
        'Spell out "{w}".',
        'Can you spell "{w}"?',
        'Could you spell "{w}" for me?',
        'Give me the letters of "{w}".',
        'Tell me how to spell "{w}".',
        'Tell me how "{w}" is spelled.',
        'What is the spelling of "{w}"?',
        'I want to spell "{w}".',
        'Spelling of "{w}"?',
        'Write "{w}" letter by letter.',
        'Show me the letters in "{w}".',
    ),
    ('Give me the spelling of "{w}".',),
)
_BACKWARDS: Final = Phrases(
    (
        'Spell "{w}" backwards.',
        'Write "{w}" backwards.',
        'What is "{w}" backwards?',
        'Reverse "{w}".',
        'Reverse the word "{w}".',
        'Reverse the letters of "{w}".',
        'Write "{w}" from the end to the beginning.',
        'Write "{w}" the other way around.',
        'How is "{w}" spelled backwards?',
        'Put the letters of "{w}" in reverse order.',
        'Can you reverse "{w}"?',
        'Can you write "{w}" backwards?',
        'Turn "{w}" around.',
        'Turn the word "{w}" around.',
        'Give me "{w}" backwards.',
        'Tell me "{w}" in reverse.',
        'Flip the letters of "{w}".',
        'Read "{w}" from right to left.',
        'List the letters of "{w}" backwards.',
    ),
    ('Turn the letters of "{w}" around.',),
)
_LENGTH: Final = Phrases(
    (
        'How many letters are in "{w}"?',
        'How many letters does "{w}" have?',
        'Count the letters in "{w}".',
        'How long is the word "{w}"?',
        'How many letters are there in "{w}"?',
        'What is the number of letters in "{w}"?',
        'Count how many letters "{w}" has.',
        'Say how long "{w}" is.',
        'Length of "{w}"?',
        'Tell me how long "{w}" is.',
        'Tell me the number of letters in "{w}".',
        'Can you count the letters of "{w}"?',
        'What is the length of "{w}"?',
        '"{w}" has how many letters?',
        'I want to know how many letters "{w}" has.',
        'Give me the length of "{w}".',
        'Number of letters in "{w}"?',
    ),
    ('Tell me how many letters "{w}" has.',),
)
_OCCURRENCE: Final = Phrases(
    (
        'How often does the letter {c} appear in "{w}"?',
        'How many times is {c} in "{w}"?',
        'How many {c} are in "{w}"?',
        'Count the letter {c} in "{w}".',
        'How often is {c} in "{w}"?',
        'How often do you find {c} in "{w}"?',
        'How many times does "{w}" contain {c}?',
        'In "{w}", how often is there a {c}?',
        'Count how often {c} appears in "{w}".',
        'Say how many {c} the word "{w}" has.',
        'Tell me the number of {c} in "{w}".',
        'Find every {c} in "{w}" and count.',
        'Tell me how many {c} are in "{w}".',
        'Tell me how often {c} appears in "{w}".',
        'Can you count the {c} in "{w}"?',
        'How many times do you see {c} in "{w}"?',
        'Count every {c} in "{w}".',
        'What is the number of {c} in "{w}"?',
        'I want to know how often {c} is in "{w}".',
        'Does "{w}" contain {c}, and how often?',
    ),
    ('Tell me how often {c} is in "{w}".',),
)
_SORTING: Final = Phrases(
    (
        "Sort {l}.",
        "Sort the numbers {l}.",
        "Put {l} in order.",
        "Sort these numbers from smallest to largest: {l}.",
        "Order the numbers {l}.",
        "Arrange {l}.",
        "Arrange the numbers {l} in rising order.",
        "Sort this list: {l}.",
        "Put the numbers {l} in order.",
        "Which order do {l} have?",
        "Sort {l}, smallest first.",
        "{l}: sort them.",
        "Can you sort {l}?",
        "Could you put {l} in order?",
        "Put these in order: {l}.",
        "Bring these numbers in order: {l}.",
        "Sort {l} from low to high.",
        "Sort {l} in ascending order.",
        "Rank {l} from smallest to largest.",
        "Give me {l} in order.",
        "List {l} in rising order.",
        "I want {l} in order.",
    ),
    ("Bring {l} into order.",),
)
_SORTING_DOWN: Final = Phrases(
    (
        "Sort {l} from largest to smallest.",
        "Sort {l} in descending order.",
        "Put {l} in falling order.",
        "Sort {l}, largest first.",
        "Arrange {l} from high to low.",
        "Order {l} from the largest down.",
        "Put {l} in descending order.",
        "Begin with the largest and sort {l}.",
        "Sort {l} from high to low.",
        "Order {l} from largest to smallest.",
        "Can you sort {l} in descending order?",
        "Arrange {l}, the largest first.",
        "Sort these, largest first: {l}.",
        "Put {l} in order from largest to smallest.",
        "Order the numbers {l} with the largest first.",
        "List {l} from the largest to the smallest.",
    ),
    ("Order {l}, the largest first.",),
)

_COUNTING: Final = Phrases(
    (
        "Count from {a} to {b}.",
        "Count up from {a} to {b}.",
        "List the numbers from {a} to {b}.",
        "Which numbers are there from {a} to {b}?",
        "Can you count from {a} to {b}?",
        "Say all numbers from {a} to {b}.",
        "Write the numbers {a} to {b}.",
        "Start at {a} and count to {b}.",
        "Name the numbers between {a} and {b}, both included.",
        "Give me the numbers from {a} to {b}.",
        "Numbers from {a} to {b}?",
        "Show me how to count from {a} to {b}.",
    ),
    ("Please count for me from {a} up to {b}.",),
)


def make(rng: random.Random, split: Split) -> Exchange:
    """One question about a word or a list; the word or the list decides whether it is held out."""
    makers = (_spell, _reverse, _measure, _count_letter, _sort, _count_up)
    return rng.choices(makers, weights=(2, 2, 2, 3, 4, 1))[0](rng, split)


def _spell(rng: random.Random, split: Split) -> Exchange:
    word = pick_word(rng, split)
    reasoning = f'The letters of "{word}" one by one: {" ".join(word)}.'
    return Exchange("spelling", _SPELLING.pick(rng, split).format(w=word), reasoning, f"{'-'.join(word)}.")


def _reverse(rng: random.Random, split: Split) -> Exchange:
    word = pick_word(rng, split)
    reasoning = f'The letters of "{word}": {" ".join(word)}. From the end: {" ".join(reversed(word))}.'
    question = _BACKWARDS.pick(rng, split).format(w=word)
    return Exchange("backwards", question, reasoning, f"{'-'.join(reversed(word))}.")


def _measure(rng: random.Random, split: Split) -> Exchange:
    word = pick_word(rng, split)
    counted = ", ".join(f"{letter} {i}" for i, letter in enumerate(word, 1))
    answer = f'The word "{word}" has {len(word)} letters.'
    return Exchange("letters", _LENGTH.pick(rng, split).format(w=word), f"I count: {counted}.", answer)


def _count_letter(rng: random.Random, split: Split) -> Exchange:
    word = pick_word(rng, split)
    letter = rng.choice(word) if rng.random() < 0.8 else rng.choice("aeioubcdfglmnprst")
    steps, count = [], 0
    for each in word:
        count += each == letter
        steps.append(f"{each} {count}")
    times = "once" if count == 1 else f"{count} times"
    answer = f'The letter {letter} appears {times} in "{word}".'
    question = _OCCURRENCE.pick(rng, split).format(c=letter, w=word)
    return Exchange("occurrences", question, f"I look for {letter}: {', '.join(steps)}.", answer)


def _sort(rng: random.Random, split: Split) -> Exchange:
    numbers = draw(split, lambda: rng.sample(range(100), rng.randint(3, 6)), key=_listed)
    falling = rng.random() < 0.3
    phrases, word = (_SORTING_DOWN, "largest") if falling else (_SORTING, "smallest")
    left, steps = list(numbers), []
    for chosen in sorted(numbers, reverse=falling)[:-1]:
        steps.append(f"Of {_listed(left)} the {word} is {chosen}.")
        left.remove(chosen)
    steps.append(f"Last is {left[0]}.")
    answer = f"{_listed(sorted(numbers, reverse=falling))}."
    question = phrases.pick(rng, split).format(l=_listed(numbers))
    return Exchange("sorting", question, "\n".join(steps), answer)


def _count_up(rng: random.Random, split: Split) -> Exchange:
    def bounds() -> tuple[int, int]:
        first = rng.randint(0, 90)
        return first, first + rng.randint(3, 12)

    first, last = draw(split, bounds, key=lambda pair: f"count {pair}")
    question = _COUNTING.pick(rng, split).format(a=first, b=last)
    answer = f"{_listed(list(range(first, last + 1)))}."
    return Exchange("counting", question, f"I start at {first} and stop at {last}.", answer)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
