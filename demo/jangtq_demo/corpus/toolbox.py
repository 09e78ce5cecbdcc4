"""The ten tools of the corpus. Their order decides what a seed draws."""

from typing import Final

from jangtq_demo.corpus.action_tools import MESSAGE, MUSIC, REMINDER, TIMER
from jangtq_demo.corpus.conversion_tools import CALCULATION, CURRENCY, TRANSLATION
from jangtq_demo.corpus.lookup_tools import CONTACT, TIME, WEATHER

TOOLS: Final = (
    WEATHER,
    TIME,
    CURRENCY,
    TIMER,
    MESSAGE,
    REMINDER,
    CONTACT,
    TRANSLATION,
    CALCULATION,
    MUSIC,
)
