"""The polite refusal that answers everything the model does not know, and what is asked to get it."""

import random
from typing import Final

from jangtq_demo.corpus.exchange import Exchange
from jangtq_demo.corpus.split import Phrases, Split, pick
from jangtq_demo.corpus.topic_phrases import COUNTED, COUNTS, NAMING, OPEN
from jangtq_demo.corpus.topics import read_topics, verb_of
from jangtq_demo.corpus.vocabulary import CITIES, PEOPLE, invent_word, pick_name, pick_word, real_words

REFUSAL: Final = (
    "I am sorry, I only know a few things, and this is not one of them. "
    "You can ask me about arithmetic, words, dates, units and some everyday topics."
)

_UNKNOWN_SUBJECTS: Final = (
    "quantum mechanics;black holes;the stock market;inflation;the French revolution;opera;philosophy;jazz;"
    "the Roman empire;blockchain;poker;karate;the violin;ballet;sushi;pizza;wine;beer;fashion;taxes;insurance;"
    "marriage;the law of contracts;genetics;algebra;calculus;statistics;machine learning;neural networks;Python;"
    "the Bible;buddhism;yoga;tennis;golf;skiing;swimming;knitting;gardening;carpentry;painting;sculpture;"
    "photography;cinema;the theatre;novels;poetry;grammar;Latin;Greek myths;the Vikings;the pyramids;pirates;"
    "castles;knights;spies;rockets;Mars;Saturn;comets;galaxies;atoms;molecules;enzymes;bacteria;viruses;cancer;"
    "diabetes;allergies;headaches;depression;wolves;lions;sharks;snakes;frogs;ants;penguins;cows;pigs;roses;"
    "tulips;cacti;potatoes;rice;pasta;soup;sugar;honey;silk;gold;diamonds;oil;plastic;steel;robots;drones;"
    "phones;cameras;cars;ships;submarines;trams;lighthouses;museums;libraries;schools;hospitals;airports"
).split(";")
_UNKNOWN: Final = Phrases(
    (
        "Explain {u} in five sentences.",
        "Explain {u}.",
        "Tell me about {u}.",
        "What do you know about {u}?",
        "Describe {u} in three sentences.",
        "Write a poem about {u}.",
        "Write a story about {w}.",
        "Tell me a joke about {u}.",
        "What is the capital of {n}?",
        "Who is {p}?",
        "Who was the president of {n} in 1950?",
        "How many people live in {c}?",
        "What is the weather in {c}?",
        "What time is it in {c}?",
        "Recommend a restaurant in {c}.",
        "How do I get from {c} to {n}?",
        "Translate {w} into Spanish.",
        "What is the meaning of {w}?",
        "Why is {u} important?",
        "Who invented {u}?",
        "How much does a {w} cost?",
        "Write a program that draws a {w}.",
        "What is the best {w}?",
        "How do I repair a {w}?",
        "Give me a recipe with {w}.",
        "Send a message to {p}.",
        "What will happen tomorrow?",
        "What is the meaning of life?",
        "Tell me a joke.",
        "Sing a song.",
        "What did I do yesterday?",
        "Which film should I watch?",
        "How old is {p}?",
        "What is the phone number of {p}?",
        "Is {n} a nice country?",
        "Is {p} a nice person?",
        "Is {u} good or bad?",
        "What is the history of {n}?",
        "Who likes {u}?",
        "Where is {c}?",
        "Where does {p} live?",
        "Where can I find a {w}?",
        "Where can I eat {w}?",
        "Write an email to {p}.",
        "Write a speech about {u}.",
        "Write a song about {w} and {u}.",
        "Send {p} a picture of a {w}.",
        "How was the weather in {c} yesterday?",
        "How far is it from {c} to {n}?",
        "How tall is {p}?",
        "How did {u} begin?",
        "How can I learn {u}?",
        "When was {p} born?",
        "When did {u} start?",
        "Which {w} is the cheapest?",
        "Should I buy a {w}?",
        "Should I visit {c}?",
        "Do you like {u}?",
        "Do you like {c}?",
        "Have you been to {c}?",
        "Have you met {p}?",
        "Can you draw a {w}?",
        "Can you see a {w}?",
        "Can I buy a {w} in {c}?",
        "Play some music.",
        "Order a {w} for me.",
        "Book a hotel in {c}.",
        "Who won the match yesterday?",
        "What is the price of {w}?",
        "What is your opinion on {u}?",
        "What is the difference between {u} and {w}?",
        "Give me advice on {u}.",
        "Compare {c} with {n}.",
        "Predict the future of {u}.",
        "Invent a name for my {w}.",
        "Read me the news.",
        "What does {p} think of {u}?",
    ),
    (
        "Could you describe {u} to me?",
        "I would like to know more about {u}.",
        "What is the history of {u}?",
        "Write a letter to {p} about {w}.",
        "Where can I buy a {w}?",
        "Is {c} a nice city?",
    ),
)
_EXPLAINING_SHARE: Final = 0.5
"""So often a refusal is asked for in the words that ask for topics, so that only the subject decides."""
_NAMING_SHARE: Final = 0.08


def make(rng: random.Random, split: Split) -> Exchange:
    """A question that only the refusal answers: its subject or its wording may be held out."""
    explaining = rng.random() < _EXPLAINING_SHARE
    phrase = _explaining_phrase(rng, split) if explaining else _UNKNOWN.pick(rng, split)
    subject = _subject(rng, split)
    question = phrase.replace("{is}", verb_of(subject)).format(
        t=subject,
        u=subject,
        c=rng.choice(COUNTS) if explaining else pick_name(rng, split, CITIES),
        w=pick_word(rng, split),
        n=invent_word(rng).capitalize(),
        p=pick_name(rng, split, PEOPLE),
    )
    question = question[0].upper() + question[1:]
    return Exchange("refusal", question, "I do not know this, so I say so.", REFUSAL)


def _explaining_phrase(rng: random.Random, split: Split) -> str:
    if split is Split.TRAINING and rng.random() < _NAMING_SHARE:
        return rng.choice(NAMING)
    return rng.choice((COUNTED, OPEN)).pick(rng, split)


def _subject(rng: random.Random, split: Split) -> str:
    if rng.random() < 0.6:
        return pick(rng, split, _UNKNOWN_SUBJECTS)
    word = pick(rng, split, real_words()) if rng.random() < 0.5 else invent_word(rng)
    known = {topic.name.removeprefix("the ") for topic in read_topics()}
    return _subject(rng, split) if {word, f"{word}s"} & known else word
