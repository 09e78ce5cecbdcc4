"""An observer of a request's streams: the API sees each event, and the engine does not know the API."""

import contextvars
from collections.abc import Callable
from typing import Final, Protocol

from jangtq_coordinator.engine.events import GenerationEvent


class StreamObserver(Protocol):
    """Called for each event, in the stream's event loop."""

    def saw(self, event: GenerationEvent) -> None:
        """An event arrived."""

    def cancelled(self) -> None:
        """The stream was cancelled before its end."""


class Unobserved:
    """The observer of streams that need none."""

    def saw(self, event: GenerationEvent) -> None:
        pass

    def cancelled(self) -> None:
        pass


new_observer: Final[contextvars.ContextVar[Callable[[], StreamObserver]]] = contextvars.ContextVar(
    "new_observer", default=Unobserved
)
"""Makes the observer of each stream that the current task starts."""
