"""What users choose from when they make bundles. Imports no array library."""

from enum import StrEnum


class RoundingName(StrEnum):
    """The values of `--rounding`."""

    NEAREST = "nearest"
    UNIT_GAIN = "unit-gain"


class LayoutName(StrEnum):
    """The values of `--layout`, those of vocabulary.Layout."""

    PRESTACKED = "prestacked"
    PER_EXPERT = "per_expert"
