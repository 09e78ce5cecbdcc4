"""The tools of the corpus that do something."""

from typing import Final

from jangtq_demo.corpus.lookup_tools import PERSON
from jangtq_demo.corpus.split import Phrases
from jangtq_demo.corpus.tool import Parameter, Tool
from jangtq_demo.corpus.tool_values import (
    draw_message,
    draw_minutes,
    draw_reminder,
    draw_title,
    return_done,
)

TIMER: Final = Tool(
    ("set_timer", "start_timer", "timer"),
    ("Set a timer.", "Starts a timer of some minutes"),
    (Parameter("minutes", ("minutes", "duration"), "integer", "Minutes until the timer rings"),),
    Phrases(
        (
            "Set a timer for {minutes} minutes.",
            "Start a timer of {minutes} minutes.",
            "Wake me in {minutes} minutes.",
            "Timer for {minutes} minutes.",
            "Set the timer to {minutes} minutes.",
            "Count down {minutes} minutes.",
            "Ring in {minutes} minutes.",
            "My eggs take {minutes} minutes. Set a timer.",
            "Give me a signal in {minutes} minutes.",
            "Can you start a timer for {minutes} minutes?",
        ),
        ("I need a timer for {minutes} minutes.",),
    ),
    "The user wants a timer of {minutes} minutes.",
    "The timer is set to {minutes} minutes.",
    draw_minutes,
    return_done,
)

MESSAGE: Final = Tool(
    ("send_message", "send_text", "message"),
    ("Send a message to a person.", "Sends a text message"),
    (PERSON, Parameter("text", ("text", "message", "body"), "string", "Text to send")),
    Phrases(
        (
            'Send {name} the message "{text}".',
            'Write to {name}: "{text}".',
            'Tell {name}: "{text}".',
            'Message {name}: "{text}".',
            'Send "{text}" to {name}.',
            'Write "{text}" to {name}.',
            'Send a message to {name} that says "{text}".',
            'Let {name} know: "{text}".',
            'I want to tell {name} "{text}".',
            'Can you send {name} this: "{text}"?',
            'Answer {name} with "{text}".',
        ),
        ('Please text {name} "{text}".',),
    ),
    'The user wants to send "{text}" to {name}.',
    "I sent the message to {name}.",
    draw_message,
    return_done,
)

REMINDER: Final = Tool(
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
            "Remind me at {time} to {text}.",
            "I have to {text} at {time}. Do not let me forget.",
            "Make a reminder for {time}: {text}.",
            "Help me to remember to {text} at {time}.",
            "Create a reminder to {text} at {time}.",
            "Reminder at {time}: {text}.",
            "Tell me at {time} to {text}.",
            "I want to {text} at {time}. Remind me of it.",
        ),
        ("Please set a reminder to {text} at {time}.",),
    ),
    "The user wants a reminder at {time} to {text}.",
    "I will remind you at {time} to {text}.",
    draw_reminder,
    return_done,
)

MUSIC: Final = Tool(
    ("play_music", "play_song", "music"),
    ("Play a song.", "Plays music by title"),
    (Parameter("title", ("title", "song", "track"), "string", "Title of the song"),),
    Phrases(
        (
            'Play "{title}".',
            'Play the song "{title}".',
            'I want to hear "{title}".',
            'Start "{title}".',
            'Start the song "{title}".',
            'Turn on "{title}".',
            'Let me hear "{title}".',
            'Can we listen to "{title}"?',
            'I would love to listen to "{title}".',
            'Put the song "{title}" on.',
            'Music please: "{title}".',
            'My favourite song is "{title}". Play it.',
        ),
        ('Please put on "{title}".',),
    ),
    'The user wants to hear "{title}".',
    'Now playing "{title}".',
    draw_title,
    return_done,
)
