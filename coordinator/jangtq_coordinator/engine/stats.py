"""Counters and the current load of an engine, as plain numbers. Knows no HTTP."""

import math
from dataclasses import dataclass, field
from typing import Final

from jangtq_coordinator.metrics.layer_times import UPPER_BOUNDS_SECONDS, bucket_of

_MEMORY: Final = 0.8
_LONGEST_WAIT_SECONDS: Final = 600


class Durations:
    """A histogram with the bounds of `metrics.layer_times`, and one more count for longer durations."""

    def __init__(self) -> None:
        self.counts = [0] * (len(UPPER_BOUNDS_SECONDS) + 1)
        self.nanoseconds = 0

    def record(self, nanoseconds: int) -> None:
        """Add one duration."""
        self.counts[bucket_of(nanoseconds)] += 1
        self.nanoseconds += nanoseconds


@dataclass
class EngineCounters:
    """Totals since the start. The engine's thread writes them, any thread may read them."""

    admitted: int = 0
    """Requests that left the wait queue; those that came back to it count again."""
    preempted: int = 0
    """Requests that went back to the wait queue for lack of memory."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens of admitted requests, and those of them that came from the prefix cache."""
    decode_passes: int = 0
    decoded_tokens: int = 0
    drafted_tokens: int = 0
    """Drafted tokens."""
    accepted_tokens: int = 0
    """Drafted tokens that were right."""
    failed_passes: int = 0
    held_up: Durations = field(default_factory=Durations)
    """How long sequences that decode waited for a prompt's chunk."""
    refused: int = 0
    """Requests refused because the wait queue was full."""


@dataclass(frozen=True)
class EngineStats:
    """The load at one moment. Bytes of KV: of requests, of the prefix cache, and the limit for both."""

    waiting: int = 0
    prefilling: int = 0
    decoding: int = 0
    active_bytes: int = 0
    kept_bytes: int = 0
    budget_bytes: int = 0


class ServiceTime:
    """How long requests took from their admission on, for Retry-After."""

    def __init__(self) -> None:
        self._mean: float | None = None

    def record(self, seconds: float) -> None:
        """Add a request that ended."""
        mean = seconds if self._mean is None else self._mean
        self._mean = mean * _MEMORY + seconds * (1 - _MEMORY)

    def retry_after_seconds(self, places: int) -> int:
        """The estimated seconds until one of `places` is free; 1 before any request ended."""
        return min(max(math.ceil((self._mean or 0) / places), 1), _LONGEST_WAIT_SECONDS)
