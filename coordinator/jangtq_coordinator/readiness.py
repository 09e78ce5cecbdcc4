"""Where engine and cluster hear of each other: is the cluster complete, and shall a pass wait for it?

Knows neither side.
"""

from collections.abc import Callable


def _nothing() -> None:
    pass


class Readiness:
    """Each side says what it is asked by the other; whatever is asked answers at once, or raises."""

    def __init__(self) -> None:
        self._check_waiting = _nothing
        self._check_complete = _nothing
        self._ask_crowded: Callable[[], bool] = bool

    def while_waiting(self, check: Callable[[], None]) -> None:
        """From now on the cluster calls this again and again while a pass waits, in its thread."""
        self._check_waiting = check

    def before_requests(self, check: Callable[[], None]) -> None:
        """From now on the engine calls this before it takes a request, in any thread."""
        self._check_complete = check

    def when_crowded(self, ask: Callable[[], bool]) -> None:
        """From now on the engine asks this before it begins with a prompt, in the pass's thread."""
        self._ask_crowded = ask

    def is_crowded(self) -> bool:
        """Whether prompts should wait, because a worker had too much to do."""
        return self._ask_crowded()

    def check_waiting(self) -> None:
        """Raises whatever shall end the waiting."""
        self._check_waiting()

    def check_complete(self) -> None:
        """Raises CoverageError while some expert has no worker."""
        self._check_complete()
