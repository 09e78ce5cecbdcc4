"""The line of sequences that wait for memory and a place in the batch. Pure; knows no model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

MAX_OVERTAKES: Final = 8
"""So many later ones may go first because they are small; then everybody waits for the one in front."""


class Waiter(Protocol):
    """Whatever waits."""

    @property
    def uid(self) -> int: ...


T = TypeVar("T", bound=Waiter)


@dataclass
class _QueuePlace(Generic[T]):
    waiter: T
    overtaken: int = 0


class WaitQueue(Generic[T]):
    """First come, first served, except that what fits may pass what does not, a bounded number of times."""

    def __init__(self) -> None:
        self._places: list[_QueuePlace[T]] = []

    def __len__(self) -> int:
        return len(self._places)

    def append(self, waiter: T) -> None:
        """Stand at the end."""
        self._places.append(_QueuePlace(waiter))

    def put_back(self, waiter: T) -> None:
        """Stand in front, as one who was served before and had to leave."""
        self._places.insert(0, _QueuePlace(waiter))

    def remove(self, uid: int) -> bool:
        """Leave the line; False for one who is not in it."""
        before = len(self._places)
        self._places = [place for place in self._places if place.waiter.uid != uid]
        return len(self._places) < before

    def take(self, fits: Callable[[T], bool]) -> T | None:
        """The first one that fits and may go, taken out."""
        for index, place in enumerate(self._places):
            if fits(place.waiter):
                for passed in self._places[:index]:
                    passed.overtaken += 1
                return self._places.pop(index).waiter
            if place.overtaken >= MAX_OVERTAKES:
                return None
        return None
