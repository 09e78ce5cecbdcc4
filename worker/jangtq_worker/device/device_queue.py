"""The order of calls on the device: first come, first served, joined with waiting calls that fit.

A stream has one call here at a time, so that streams take turns. A long call may take several turns: waiting
short calls go first, and other long ones take turns with it. The thread that brought a call computes it; only
waiting threads are woken. Knows no experts.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Call = TypeVar("Call")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Place(Generic[Call, Answer]):
    """A call in the queue; `woken` stays locked until the call is answered or has its turn."""

    call: Call
    woken: threading.Lock = field(default_factory=threading.Lock)
    outcome: Answer | BaseException | None = None


class DeviceQueue(Generic[Call, Answer]):
    """`compute` answers calls that go together, each by an answer or its error; one thread at a time runs it.

    A call that is alone may be answered by None: it takes one more turn.
    goes_along: whether a waiting call may join these.
    is_long: whether short calls go first after each of its turns.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Call]], Sequence[Answer | BaseException | None]],
        goes_along: Callable[[Sequence[Call], Call], bool],
        *,
        is_long: Callable[[Call], bool],
    ) -> None:
        self._compute = compute
        self._goes_along = goes_along
        self._is_long = is_long
        self._state = threading.Lock()
        self._is_taken = False
        self._waiting: deque[_Place[Call, Answer]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, call: Call) -> Answer:
        """Wait for a call's turn and return its answer. Raises the call's error."""
        place: _Place[Call, Answer] = _Place(call)
        with self._state:
            is_first = not self._is_taken
            self._is_taken = True
            if not is_first:
                place.woken.acquire()
                self._waiting.append(place)
        if not is_first:
            place.woken.acquire()
        return self._outcome(place)

    def try_take(self) -> bool:
        """Take the device for a call outside the queue, if it is free; `pass_on` gives it back."""
        with self._state:
            is_free = not self._is_taken
            self._is_taken = True
            return is_free

    def pass_on(self) -> None:
        """Give the device to the call that waits longest, or free it."""
        with self._state:
            if self._waiting:
                self._waiting.popleft().woken.release()
            else:
                self._is_taken = False

    def _outcome(self, place: _Place[Call, Answer]) -> Answer:
        while place.outcome is None:
            self._answer(self._gather(place) if self._waiting else [place])
        if isinstance(place.outcome, BaseException):
            raise place.outcome
        return place.outcome

    def _gather(self, first: _Place[Call, Answer]) -> list[_Place[Call, Answer]]:
        together, calls = [first], [first.call]
        with self._state:
            for place in tuple(self._waiting):
                if self._goes_along(calls, place.call):
                    self._waiting.remove(place)
                    together.append(place)
                    calls.append(place.call)
        return together

    def _answer(self, together: list[_Place[Call, Answer]]) -> None:
        try:
            outcomes = self._compute([place.call for place in together])
        except BaseException as error:
            outcomes = [error] * len(together)
        for place, outcome in zip(together, outcomes, strict=True):
            place.outcome = outcome
        if together[0].outcome is None:
            self._let_by(together[0])
            return
        self.pass_on()
        for place in together[1:]:
            place.woken.release()

    def _let_by(self, place: _Place[Call, Answer]) -> None:
        """Let waiting calls go first; returns at this call's next turn."""
        with self._state:
            if not self._waiting:
                return
            place.woken.acquire(blocking=False)  # held already by one that waited before
            line = sorted([*self._waiting, place], key=lambda waiting: self._is_long(waiting.call))
            self._waiting = deque(line)
            self._waiting.popleft().woken.release()
        place.woken.acquire()
