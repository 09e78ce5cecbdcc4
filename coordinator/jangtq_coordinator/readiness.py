"""What engine and cluster ask each other: is the cluster complete, should a pass go on waiting?

Knows neither side.
"""

from collections.abc import Callable


def _nothing() -> None:
    pass


class Readiness:
    """Each side registers functions that the other calls; these answer at once, or raise."""

    def __init__(self) -> None:
        self._check_waiting = _nothing
        self._check_complete = _nothing
        self.wait_seconds = 0.0
        self._ask_crowded: Callable[[], bool] = bool

    def while_waiting(self, check: Callable[[], None]) -> None:
        """Register what the cluster calls repeatedly, in the pass's thread, while a pass waits."""
        self._check_waiting = check

    def before_requests(self, check: Callable[[], None], *, wait_seconds: float = 0.0) -> None:
        """Register what the engine calls in any thread before it takes a request.

        A request waits `wait_seconds` for a complete cluster, as a running one does.
        """
        self._check_complete = check
        self.wait_seconds = wait_seconds

    def when_overloaded(self, ask: Callable[[], bool]) -> None:
        """Register what the engine asks in the pass's thread before it starts a prompt."""
        self._ask_crowded = ask

    def is_overloaded(self) -> bool:
        """Whether prompts should wait because a worker is overloaded."""
        return self._ask_crowded()

    def check_waiting(self) -> None:
        """Raises what should end the waiting."""
        self._check_waiting()

    def check_complete(self) -> None:
        """Raises CoverageError while some expert has no worker."""
        self._check_complete()
