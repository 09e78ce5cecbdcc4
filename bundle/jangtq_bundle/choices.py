"""What users choose from when they make bundles. Imports no array library."""

from enum import StrEnum
from typing import Final, NamedTuple


class RoundingName(StrEnum):
    """The values of `--rounding`."""

    NEAREST = "nearest"
    UNIT_GAIN = "unit-gain"


class ProfileBits(NamedTuple):
    """Bits of a code in each projection; `name` is what jang_config.json calls the profile."""

    name: str
    gate: int
    up: int
    down: int


PROFILES: Final = {
    profile.name: profile
    for profile in (
        ProfileBits("JANGTQ2", 2, 2, 2),
        ProfileBits("JANGTQ3", 3, 3, 3),
        ProfileBits("JANGTQ4", 4, 4, 4),
        ProfileBits("JANGTQ_K", 2, 2, 4),
    )
}


def parse_profile(text: str) -> ProfileBits:
    """A name of PROFILES, or bits of gate/up/down such as 2/2/3. Raises ValueError."""
    if text.upper() in PROFILES:
        return PROFILES[text.upper()]
    parts = text.split("/")
    if len(parts) != 3 or not all(part in ("2", "3", "4") for part in parts):
        raise ValueError(
            f"allowed are {', '.join(PROFILES)}, or bits from 2 to 4 of gate/up/down such as 2/2/3"
        )
    gate, up, down = map(int, parts)
    return ProfileBits(f"JANGTQ_{gate}_{up}_{down}", gate, up, down)


class LayoutName(StrEnum):
    """The values of `--layout`, those of vocabulary.Layout."""

    PRESTACKED = "prestacked"
    PER_EXPERT = "per_expert"
