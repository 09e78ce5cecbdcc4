"""Lets whoever serves a request see what its streams bring; the engine does not know who that is."""

import contextvars
from collections.abc import Callable
from typing import Final, Protocol

from jangtq_coordinator.engine.events import GenerationEvent


class StreamObserver(Protocol):
    """Told of each event in the stream's event loop, as it arrives there."""

    def saw(self, event: GenerationEvent) -> None:
        """One more event."""

    def cancelled(self) -> None:
        """The stream was given up before its end."""


class Unobserved:
    """For streams that nobody watches."""

    def saw(self, event: GenerationEvent) -> None:
        pass

    def cancelled(self) -> None:
        pass


new_observer: Final[contextvars.ContextVar[Callable[[], StreamObserver]]] = contextvars.ContextVar(
    "new_observer", default=Unobserved
)
"""Makes the observer of a stream that the running task begins."""
