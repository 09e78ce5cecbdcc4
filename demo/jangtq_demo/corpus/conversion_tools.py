"""The tools of the corpus that turn what they are given into something else."""

from typing import Final

from jangtq_demo.corpus.split import Phrases
from jangtq_demo.corpus.tool import Parameter, Tool
from jangtq_demo.corpus.tool_values import (
    draw_expression,
    draw_money,
    draw_translation,
    return_calculation,
)
from jangtq_demo.corpus.vocabulary import invent_word

CURRENCY: Final = Tool(
    ("convert_currency", "exchange", "currency", "exchange_money", "currency_converter"),
    ("Convert an amount of money.", "Converts money between two currencies", "Exchange rates"),
    (
        Parameter("amount", ("amount", "value", "sum"), "integer", "Amount of money"),
        Parameter("source", ("from", "source", "from_currency"), "string", "Currency to convert from"),
        Parameter("target", ("to", "target", "to_currency"), "string", "Currency to convert to"),
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
            "Can you convert {amount} {source} to {target}?",
            "Can you tell me how much {amount} {source} is in {target}?",
            "Please convert {amount} {source} into {target}.",
            "What are {amount} {source} worth in {target}?",
            "I need {amount} {source} in {target}.",
            "Turn {amount} {source} into {target}.",
            "If I change {amount} {source} to {target}, how much do I get?",
            "How much {target} do I get for {amount} {source}?",
            "What will {amount} {source} be in {target}?",
            "I paid {amount} {source}. What is that in {target}?",
            "Calculate {amount} {source} in {target}.",
            "Find out what {amount} {source} is in {target}.",
        ),
        ("What do I get in {target} for {amount} {source}?",),
    ),
    "The user wants {amount} {source} in {target}.",
    "{amount} {source} are {converted} {target}.",
    draw_money,
    lambda rng, values: {"converted": rng.randint(1, 99999)},
)

TRANSLATION: Final = Tool(
    ("translate", "translate_word", "dictionary", "translate_text", "get_translation"),
    ("Translate a word.", "Translates a word into another language", "Translate text."),
    (
        Parameter("word", ("word", "text", "term"), "string", "Word to translate"),
        Parameter(
            "language", ("language", "target_language", "into"), "string", "Language to translate into"
        ),
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
            'Can you translate "{word}" into {language}?',
            'Could you tell me "{word}" in {language}?',
            'Tell me "{word}" in {language}.',
            'Tell me the {language} word for "{word}".',
            'Give me "{word}" in {language}.',
            'Please translate "{word}" to {language}.',
            'Translate the word "{word}" to {language}.',
            'Look up "{word}" in {language}.',
            'I need "{word}" in {language}.',
            'What do people call "{word}" in {language}?',
            'How does one say "{word}" in {language}?',
            '"{word}" in {language}?',
        ),
        ('Give me the {language} word for "{word}".',),
    ),
    'The user wants "{word}" in {language}.',
    'In {language} "{word}" is "{translation}".',
    draw_translation,
    lambda rng, values: {"translation": invent_word(rng)},
)

CALCULATION: Final = Tool(
    ("calculate", "calculator", "evaluate", "compute", "do_math"),
    ("Calculate an expression.", "Evaluates an arithmetic expression", "A calculator."),
    (Parameter("expression", ("expression", "formula", "input"), "string", "Expression such as 12 * 7"),),
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
            "Can you use the calculator for {expression}?",
            "Please calculate {expression} with the calculator.",
            "Use your calculator to find {expression}.",
            "Use the tool to calculate {expression}.",
            "Let the calculator do {expression}.",
            "Let the tool compute {expression}.",
            "Evaluate {expression} with the calculator.",
            "Work out {expression} with the calculator.",
            "Enter {expression} into the calculator.",
            "Run {expression} through the calculator.",
            "Tell me what the calculator gives for {expression}.",
            "I need {expression}. Use the calculator.",
            "Calculator: {expression}.",
        ),
        ("Let the calculator work out {expression}.",),
    ),
    "The user wants me to calculate {expression} with the tool.",
    "The result is {result}.",
    draw_expression,
    return_calculation,
)
