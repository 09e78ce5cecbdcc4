"""Greetings, and the polite refusal that answers everything the model does not know."""

import random
from typing import Final

from jangtq_demo.corpus.exchange import Exchange
from jangtq_demo.corpus.split import Phrases, Split, pick
from jangtq_demo.corpus.topics import COUNTED, COUNTS, OPEN, read_topics
from jangtq_demo.corpus.vocabulary import CITIES, PEOPLE, invent_word, pick_name, pick_word, real_words

REFUSAL: Final = (
    "I am sorry, I only know a few things, and this is not one of them. "
    "You can ask me about arithmetic, words, dates, units and some everyday topics."
)

_GREETINGS: Final = (
    (
        Phrases(
            (
                "Hello!",
                "Hi",
                "Hi!",
                "Hello",
                "Hey",
                "Hey!",
                "Good morning!",
                "Good evening.",
                "Hello there!",
                "Hey there",
                "Hi you!",
                "Hi assistant!",
                "Good day",
                "Greetings!",
            ),
            ("Hi there!",),
        ),
        "The user greets me. I greet back.",
        "Hello! How can I help you?",
    ),
    (
        Phrases(
            (
                "How are you?",
                "How are you today?",
                "How do you do?",
                "Are you well?",
                "How are things?",
                "How is your day?",
                "Are you fine?",
                "How is it?",
                "Are things going well?",
            ),
            ("How is it going?",),
        ),
        "The user asks how I am.",
        "I am fine, thank you. What can I do for you?",
    ),
    (
        Phrases(
            (
                "Thank you!",
                "Thanks",
                "Thanks a lot!",
                "Thank you very much.",
                "Thank you so much",
                "Great, thanks!",
                "Thanks for the help.",
                "Very kind, thank you.",
            ),
            ("Many thanks!",),
        ),
        "The user thanks me.",
        "You are welcome!",
    ),
    (
        Phrases(
            (
                "Bye!",
                "Goodbye",
                "See you later.",
                "Good night!",
                "See you!",
                "Bye",
                "Goodbye!",
                "Until tomorrow!",
                "I have to go, bye.",
            ),
            ("Bye bye!",),
        ),
        "The user says goodbye.",
        "Goodbye! Have a nice day.",
    ),
    (
        Phrases(
            (
                "Who are you?",
                "What are you?",
                "What is your name?",
                "Introduce yourself.",
                "Who am I talking to?",
                "Are you a robot?",
                "Which model are you?",
                "Say who you are.",
                "Do you have a name?",
            ),
            ("Tell me who you are.",),
        ),
        "The user asks who I am.",
        "I am a very small language model with 256 experts in each layer. I was made to show a cluster at work.",
    ),
    (
        Phrases(
            (
                "What can you do?",
                "How can you help me?",
                "What do you know?",
                "Help",
                "What can I ask you?",
                "What are you good at?",
                "What else can you do?",
                "Which questions can I ask?",
                "Tell me what you can do.",
                "Help me.",
            ),
            ("Which things can you do?",),
        ),
        "The user asks what I can do.",
        "I can calculate in steps, sort, count and spell, answer questions about dates and units, "
        "explain some everyday topics and call tools.",
    ),
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


def make_greeting(rng: random.Random, split: Split) -> Exchange:
    phrases, reasoning, answer = rng.choice(_GREETINGS)
    return Exchange("greeting", phrases.pick_unseen(rng, split), reasoning, answer)


def make_refusal(rng: random.Random, split: Split) -> Exchange:
    """A question that only the refusal answers: its subject or its wording may be held out."""
    phrase = _UNKNOWN.pick(rng, split)
    if rng.random() < _EXPLAINING_SHARE:
        phrase = rng.choice((COUNTED, OPEN)).pick(rng, split).replace("{t}", "{u}")
    question = phrase.format(
        u=_subject(rng, split),
        c=rng.choice(COUNTS) if "{c}" in phrase and "{u}" in phrase else pick_name(rng, split, CITIES),
        w=pick_word(rng, split),
        n=invent_word(rng).capitalize(),
        p=pick_name(rng, split, PEOPLE),
    )
    return Exchange("refusal", question, "I do not know this, so I say so.", REFUSAL)


def _subject(rng: random.Random, split: Split) -> str:
    if rng.random() < 0.6:
        return pick(rng, split, _UNKNOWN_SUBJECTS)
    word = pick(rng, split, real_words()) if rng.random() < 0.5 else invent_word(rng)
    known = {topic.name.removeprefix("the ") for topic in read_topics()}
    return _subject(rng, split) if {word, f"{word}s"} & known else word
