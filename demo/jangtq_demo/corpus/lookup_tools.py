"""The tools of the corpus that find something out."""

from typing import Final

from jangtq_demo.corpus.split import Phrases
from jangtq_demo.corpus.tool import Parameter, Tool
from jangtq_demo.corpus.tool_values import (
    draw_city,
    draw_expression,
    draw_money,
    draw_person,
    draw_time,
    draw_translation,
    return_calculation,
    return_weather,
)
from jangtq_demo.corpus.vocabulary import invent_word

_CITY: Final = Parameter("city", ("city", "location", "place"), "string", "Name of the city")
PERSON: Final = Parameter("name", ("name", "person", "contact"), "string", "Name of the person")

WEATHER: Final = Tool(
    ("get_weather", "current_weather", "weather"),
    ("Get the current weather of a city.", "Current weather in a city", "Returns temperature and sky."),
    (_CITY,),
    Phrases(
        (
            "What is the weather in {city}?",
            "How is the weather in {city}?",
            "What is the weather like in {city}?",
            "Is it warm in {city}?",
            "Tell me the weather in {city}.",
            "Do I need a coat in {city} today?",
            "Is it raining in {city}?",
            "Is it cold in {city}?",
            "How is it outside in {city}?",
            "Weather in {city}?",
            "Check the weather in {city}.",
            "I travel to {city}. How is the weather there?",
            "Give me the weather for {city}.",
            "What temperature does {city} have?",
            "How many degrees are there in {city}?",
        ),
        ("How warm is it in {city} right now?", "Please look up the weather in {city}."),
    ),
    "The user wants to know the weather in {city}.",
    "It is {temperature} degrees and {sky} in {city}.",
    draw_city,
    return_weather,
)

TIME: Final = Tool(
    ("get_time", "current_time", "clock"),
    ("Get the current time in a city.", "Local time of a city"),
    (_CITY,),
    Phrases(
        (
            "What time is it in {city}?",
            "How late is it in {city}?",
            "Tell me the time in {city}.",
            "What is the time in {city}?",
            "Time in {city}?",
            "Check the time in {city}.",
            "I want to call someone in {city}. What time is it there?",
            "Give me the local time in {city}.",
            "Look up what time it is in {city}.",
            "What does the clock say in {city}?",
        ),
        ("Which time is it now in {city}?",),
    ),
    "The user wants to know the time in {city}.",
    "It is {time} in {city}.",
    draw_city,
    lambda rng, values: {"time": draw_time(rng)},
)

CURRENCY: Final = Tool(
    ("convert_currency", "exchange", "currency"),
    ("Convert an amount of money.", "Converts money between two currencies"),
    (
        Parameter("amount", ("amount", "value"), "integer", "Amount of money"),
        Parameter("source", ("from", "source"), "string", "Currency to convert from"),
        Parameter("target", ("to", "target"), "string", "Currency to convert to"),
    ),
    Phrases(
        (
            "Convert {amount} {source} to {target}.",
            "How much is {amount} {source} in {target}?",
            "How many {target} are {amount} {source}?",
            "Change {amount} {source} into {target}.",
            "What is {amount} {source} in {target}?",
            "I have {amount} {source}. How much is that in {target}?",
            "Exchange {amount} {source} for {target}.",
            "{amount} {source} in {target}?",
            "How much {target} can I buy with {amount} {source}?",
            "Tell me how many {target} I get if I give {amount} {source}.",
            "Give me the value of {amount} {source} in {target}.",
        ),
        ("What do I get in {target} for {amount} {source}?",),
    ),
    "The user wants {amount} {source} in {target}.",
    "{amount} {source} are {converted} {target}.",
    draw_money,
    lambda rng, values: {"converted": rng.randint(1, 99999)},
)

CONTACT: Final = Tool(
    ("find_contact", "lookup_contact", "phone_book"),
    ("Find the phone number of a person.", "Looks a person up in the contacts"),
    (PERSON,),
    Phrases(
        (
            "What is the phone number of {name}?",
            "Find the number of {name}.",
            "How can I call {name}?",
            "Give me the number of {name}.",
            "I want to call {name}.",
            "Phone number of {name}?",
            "Which number does {name} have?",
            "What number do I dial for {name}?",
            "Search my contacts for {name}.",
            "Find {name} in the phone book.",
            "How do I reach {name} by phone?",
        ),
        ("Look up the phone number of {name}.",),
    ),
    "The user wants the phone number of {name}.",
    "The phone number of {name} is {phone}.",
    draw_person,
    lambda rng, values: {"phone": f"0{rng.randint(100, 999)} {rng.randint(10000, 99999)}"},
)

TRANSLATION: Final = Tool(
    ("translate", "translate_word", "dictionary"),
    ("Translate a word.", "Translates a word into another language"),
    (
        Parameter("word", ("word", "text"), "string", "Word to translate"),
        Parameter("language", ("language", "target_language"), "string", "Language to translate into"),
    ),
    Phrases(
        (
            'Translate "{word}" into {language}.',
            'What is "{word}" in {language}?',
            'How do I say "{word}" in {language}?',
            'Say "{word}" in {language}.',
            'I need the {language} translation of "{word}".',
            'What does "{word}" mean in {language}?',
            'Put "{word}" into {language}.',
            'What is the {language} for "{word}"?',
            'Which {language} word means "{word}"?',
            'Find the {language} translation for "{word}".',
            'How would you write "{word}" in {language}?',
            'In {language}, what is "{word}"?',
            'I want to say "{word}" in {language}.',
        ),
        ('Give me the {language} word for "{word}".',),
    ),
    'The user wants "{word}" in {language}.',
    'In {language} "{word}" is "{translation}".',
    draw_translation,
    lambda rng, values: {"translation": invent_word(rng)},
)

CALCULATION: Final = Tool(
    ("calculate", "calculator", "evaluate"),
    ("Calculate an expression.", "Evaluates an arithmetic expression"),
    (Parameter("expression", ("expression", "formula"), "string", "Expression such as 12 * 7"),),
    Phrases(
        (
            "What is {expression}? Use the calculator.",
            "Use the calculator: {expression}.",
            "Calculate {expression} with the tool.",
            "With the calculator, what is {expression}?",
            "Ask the calculator for {expression}.",
            "Compute {expression} with the calculator.",
            "I want the calculator to do {expression}.",
            "Put {expression} into the calculator.",
            "Type {expression} into your calculator.",
            "Call the calculator on {expression}.",
            "What does the calculator say to {expression}?",
            "Have the calculator compute {expression}.",
            "The calculator should solve {expression}.",
            "Take the calculator for {expression}.",
        ),
        ("Let the calculator work out {expression}.",),
    ),
    "The user wants me to calculate {expression} with the tool.",
    "The result is {result}.",
    draw_expression,
    return_calculation,
)
