"""The ten tools of the corpus."""

from typing import Final

from jangtq_demo.corpus.split import Phrases
from jangtq_demo.corpus.tool import Parameter, Tool
from jangtq_demo.corpus.tool_values import (
    draw_city,
    draw_expression,
    draw_message,
    draw_minutes,
    draw_money,
    draw_person,
    draw_reminder,
    draw_time,
    draw_title,
    draw_translation,
    return_calculation,
    return_done,
    return_weather,
)
from jangtq_demo.corpus.vocabulary import invent_word

_CITY: Final = Parameter("city", ("city", "location", "place"), "string", "Name of the city")
_NAME: Final = Parameter("name", ("name", "person", "contact"), "string", "Name of the person")

TOOLS: Final = (
    Tool(
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
            ),
            ("How warm is it in {city} right now?", "Please look up the weather in {city}."),
        ),
        "The user wants to know the weather in {city}.",
        "It is {temperature} degrees and {sky} in {city}.",
        draw_city,
        return_weather,
    ),
    Tool(
        ("get_time", "current_time", "clock"),
        ("Get the current time in a city.", "Local time of a city"),
        (_CITY,),
        Phrases(
            ("What time is it in {city}?", "How late is it in {city}?", "Tell me the time in {city}."),
            ("Which time is it now in {city}?",),
        ),
        "The user wants to know the time in {city}.",
        "It is {time} in {city}.",
        draw_city,
        lambda rng, values: {"time": draw_time(rng)},
    ),
    Tool(
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
            ),
            ("What do I get in {target} for {amount} {source}?",),
        ),
        "The user wants {amount} {source} in {target}.",
        "{amount} {source} are {converted} {target}.",
        draw_money,
        lambda rng, values: {"converted": rng.randint(1, 99999)},
    ),
    Tool(
        ("set_timer", "start_timer", "timer"),
        ("Set a timer.", "Starts a timer of some minutes"),
        (Parameter("minutes", ("minutes", "duration"), "integer", "Minutes until the timer rings"),),
        Phrases(
            (
                "Set a timer for {minutes} minutes.",
                "Start a timer of {minutes} minutes.",
                "Wake me in {minutes} minutes.",
            ),
            ("I need a timer for {minutes} minutes.",),
        ),
        "The user wants a timer of {minutes} minutes.",
        "The timer is set to {minutes} minutes.",
        draw_minutes,
        return_done,
    ),
    Tool(
        ("send_message", "send_text", "message"),
        ("Send a message to a person.", "Sends a text message"),
        (_NAME, Parameter("text", ("text", "message", "body"), "string", "Text to send")),
        Phrases(
            (
                'Send {name} the message "{text}".',
                'Write to {name}: "{text}".',
                'Tell {name}: "{text}".',
            ),
            ('Please text {name} "{text}".',),
        ),
        'The user wants to send "{text}" to {name}.',
        "I sent the message to {name}.",
        draw_message,
        return_done,
    ),
    Tool(
        ("add_reminder", "create_reminder", "remind"),
        ("Add a reminder.", "Creates a reminder for a time of the day"),
        (
            Parameter("text", ("text", "task"), "string", "What to remind of"),
            Parameter("time", ("time", "at"), "string", "Time as HH:MM"),
        ),
        Phrases(
            (
                "Remind me to {text} at {time}.",
                "Add a reminder at {time}: {text}.",
                "At {time} I must {text}. Remind me.",
            ),
            ("Please set a reminder to {text} at {time}.",),
        ),
        "The user wants a reminder at {time} to {text}.",
        "I will remind you at {time} to {text}.",
        draw_reminder,
        return_done,
    ),
    Tool(
        ("find_contact", "lookup_contact", "phone_book"),
        ("Find the phone number of a person.", "Looks a person up in the contacts"),
        (_NAME,),
        Phrases(
            (
                "What is the phone number of {name}?",
                "Find the number of {name}.",
                "How can I call {name}?",
            ),
            ("Look up the phone number of {name}.",),
        ),
        "The user wants the phone number of {name}.",
        "The phone number of {name} is {phone}.",
        draw_person,
        lambda rng, values: {"phone": f"0{rng.randint(100, 999)} {rng.randint(10000, 99999)}"},
    ),
    Tool(
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
            ),
            ('Give me the {language} word for "{word}".',),
        ),
        'The user wants "{word}" in {language}.',
        'In {language} "{word}" is "{translation}".',
        draw_translation,
        lambda rng, values: {"translation": invent_word(rng)},
    ),
    Tool(
        ("calculate", "calculator", "evaluate"),
        ("Calculate an expression.", "Evaluates an arithmetic expression"),
        (Parameter("expression", ("expression", "formula"), "string", "Expression such as 12 * 7"),),
        Phrases(
            (
                "What is {expression}? Use the calculator.",
                "Use the calculator: {expression}.",
                "Calculate {expression} with the tool.",
            ),
            ("Let the calculator work out {expression}.",),
        ),
        "The user wants me to calculate {expression} with the tool.",
        "The result is {result}.",
        draw_expression,
        return_calculation,
    ),
    Tool(
        ("play_music", "play_song", "music"),
        ("Play a song.", "Plays music by title"),
        (Parameter("title", ("title", "song", "track"), "string", "Title of the song"),),
        Phrases(
            ('Play "{title}".', 'Play the song "{title}".', 'I want to hear "{title}".'),
            ('Please put on "{title}".',),
        ),
        'The user wants to hear "{title}".',
        'Now playing "{title}".',
        draw_title,
        return_done,
    ),
)
