"""The tools of the corpus that find something out."""

from typing import Final

from jangtq_demo.corpus.split import Phrases
from jangtq_demo.corpus.tool import Parameter, Tool
from jangtq_demo.corpus.tool_values import draw_city, draw_person, draw_time, return_weather

_CITY: Final = Parameter(
    "city", ("city", "location", "place", "town", "city_name"), "string", "Name of the city"
)
PERSON: Final = Parameter(
    "name", ("name", "person", "contact", "recipient", "to"), "string", "Name of the person"
)

WEATHER: Final = Tool(
    ("get_weather", "current_weather", "weather", "get_current_weather", "weather_now", "fetch_weather"),
    (
        "Get the current weather of a city.",
        "Current weather in a city",
        "Returns temperature and sky.",
        "Get the weather for a location.",
        "Weather report",
        "Look up the weather.",
    ),
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
            "Can you tell me the weather in {city}?",
            "Could you check the weather in {city}?",
            "Do you know how the weather is in {city}?",
            "What is it like outside in {city}?",
            "Is the sun shining in {city}?",
            "Find out the weather in {city}.",
            "Get the weather for {city}.",
            "I want to know the weather in {city}.",
            "Please tell me how warm it is in {city}.",
            "Should I take an umbrella to {city}?",
            "Look at the weather in {city}.",
            "How cold is it in {city} today?",
            "What weather do they have in {city}?",
            "Current weather in {city}, please.",
            "How hot is it in {city} at the moment?",
            "How is the weather in {city} this morning?",
            "Is it windy in {city} these days?",
            "What is it like in {city} just now?",
            "Is there snow in {city} this week?",
            "Will I be warm in {city} without a jacket?",
            "Look up how warm {city} is.",
            "Please look at the weather {city} has today.",
        ),
        ("How warm is it in {city} right now?", "Please look up the weather in {city}."),
    ),
    "The user wants to know the weather in {city}.",
    "It is {temperature} degrees and {sky} in {city}.",
    draw_city,
    return_weather,
)

TIME: Final = Tool(
    ("get_time", "current_time", "clock", "get_current_time", "time_in_city", "world_clock"),
    (
        "Get the current time in a city.",
        "Local time of a city",
        "What time it is somewhere.",
        "Returns the time.",
    ),
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
            "Can you tell me the time in {city}?",
            "Do you know what time it is in {city}?",
            "Could you look up the time in {city}?",
            "Current time in {city}?",
            "I want to know the time in {city}.",
            "What is the local time in {city}?",
            "Find out the time in {city}.",
            "Get the time for {city}.",
            "Please check what time it is in {city}.",
            "Tell me how late it is in {city}.",
            "In {city}, what time is it now?",
            "Is it late in {city}? What is the time?",
            "What time do they have in {city}?",
            "What time is it in {city} at the moment?",
            "How late is it in {city} by now?",
        ),
        ("Which time is it now in {city}?",),
    ),
    "The user wants to know the time in {city}.",
    "It is {time} in {city}.",
    draw_city,
    lambda rng, values: {"time": draw_time(rng)},
)

CONTACT: Final = Tool(
    ("find_contact", "lookup_contact", "phone_book", "get_phone_number", "search_contacts"),
    ("Find the phone number of a person.", "Looks a person up in the contacts", "Search contacts."),
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
            "Can you find the number of {name}?",
            "Can you tell me the phone number of {name}?",
            "Do you have the number of {name}?",
            "Tell me the number of {name}.",
            "Tell me how to call {name}.",
            "Please look for the number of {name}.",
            "Look for {name} in my contacts.",
            "Find the phone number of {name}.",
            "I need the number of {name}.",
            "I need to phone {name}.",
            "Get me the number of {name}.",
            "What is the number of {name}?",
            "Show me the contact {name}.",
            "Under which number can I reach {name}?",
        ),
        ("Look up the phone number of {name}.",),
    ),
    "The user wants the phone number of {name}.",
    "The phone number of {name} is {phone}.",
    draw_person,
    lambda rng, values: {"phone": f"0{rng.randint(100, 999)} {rng.randint(10000, 99999)}"},
)
