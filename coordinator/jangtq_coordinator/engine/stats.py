"""What an engine has done and has to do, in plain numbers for whoever watches it. Knows no HTTP."""

import math
from dataclasses import dataclass, field
from typing import Final

from jangtq_coordinator.metrics.layer_times import UPPER_BOUNDS_SECONDS, bucket_of

_MEMORY: Final = 0.8
_LONGEST_WAIT_SECONDS: Final = 600


class Durations:
    """A histogram with the bounds of `timing`, and one count more for the rest."""

    def __init__(self) -> None:
        self.counts = [0] * (len(UPPER_BOUNDS_SECONDS) + 1)
        self.nanoseconds = 0

    def record(self, nanoseconds: int) -> None:
        """One more."""
        self.counts[bucket_of(nanoseconds)] += 1
        self.nanoseconds += nanoseconds


@dataclass
class EngineCounters:
    """Totals since the start. The engine's thread writes them, any thread may read them."""

    admitted: int = 0
    """Requests that left the line; those that came back to it count again."""
    preempted: int = 0
    """Requests that went back to the line for lack of memory."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens of admitted requests, and those of them whose KV had been kept."""
    decode_passes: int = 0
    decoded_tokens: int = 0
    drafted_tokens: int = 0
    """Tokens that were guessed."""
    accepted_tokens: int = 0
    """Guessed tokens that were right."""
    failed_passes: int = 0
    held_up: Durations = field(default_factory=Durations)
    """How long sequences that decode waited for a prompt's chunk."""
    refused: int = 0
    """Requests that found the line full."""


@dataclass(frozen=True)
class EngineStats:
    """One moment. Bytes are those of the KV cache: of requests, of kept prompts, and of both at most."""

    waiting: int = 0
    prefilling: int = 0
    decoding: int = 0
    active_bytes: int = 0
    kept_bytes: int = 0
    budget_bytes: int = 0


class ServiceTime:
    """How long requests took from their admission on, for an honest Retry-After."""

    def __init__(self) -> None:
        self._mean: float | None = None

    def record(self, seconds: float) -> None:
        """A request ended."""
        mean = seconds if self._mean is None else self._mean
        self._mean = mean * _MEMORY + seconds * (1 - _MEMORY)

    def retry_after_seconds(self, places: int) -> int:
        """In about how many seconds one of `places` becomes free; 1 where nothing is known."""
        return min(max(math.ceil((self._mean or 0) / places), 1), _LONGEST_WAIT_SECONDS)
