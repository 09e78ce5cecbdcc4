"""The queue of sequences that wait for memory and a place in the batch. Pure; knows no model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

MAX_OVERTAKES: Final = 8
"""So many later sequences may overtake the first because they are small; then all wait for it."""


class Waiter(Protocol):
    """A sequence that waits."""

    @property
    def uid(self) -> int: ...


T = TypeVar("T", bound=Waiter)


@dataclass
class _QueuePlace(Generic[T]):
    waiter: T
    overtaken: int = 0


class WaitQueue(Generic[T]):
    """First come, first served; a sequence that fits may overtake one that does not, up to a limit."""

    def __init__(self) -> None:
        self._places: list[_QueuePlace[T]] = []

    def __len__(self) -> int:
        return len(self._places)

    def append(self, waiter: T) -> None:
        """Add at the end."""
        self._places.append(_QueuePlace(waiter))

    def put_back(self, waiter: T) -> None:
        """Add in front: a sequence that was admitted before and had to give up its memory."""
        self._places.insert(0, _QueuePlace(waiter))

    def remove(self, uid: int) -> bool:
        """Remove a sequence; False if it does not wait here."""
        before = len(self._places)
        self._places = [place for place in self._places if place.waiter.uid != uid]
        return len(self._places) < before

    def take(self, fits: Callable[[T], bool]) -> T | None:
        """Remove and return the first sequence that fits and may go."""
        for index, place in enumerate(self._places):
            if fits(place.waiter):
                for passed in self._places[:index]:
                    passed.overtaken += 1
                return self._places.pop(index).waiter
            if place.overtaken >= MAX_OVERTAKES:
                return None
        return None
