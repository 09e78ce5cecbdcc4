"""How long a pass that the cluster failed is tried again. Pure; the caller waits."""

from typing import Final

from jangtq_proto.errors import CallRejectedError, ClusterError, WorkerMismatchError

_HOPELESS: Final = (CallRejectedError, WorkerMismatchError)


class RetryWindow:
    """Counts from the start of the first pass that failed to the first that succeeds again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._failing_since: float | None = None

    @property
    def is_tried(self) -> bool:
        """Whether the last pass failed."""
        return self._failing_since is not None

    def allows(self, error: Exception, *, started: float, now: float) -> bool:
        """Whether a pass that began at `started` and just failed is worth another attempt."""
        if not isinstance(error, ClusterError) or isinstance(error, _HOPELESS):
            return False
        if self._failing_since is None:
            self._failing_since = started
        return now - self._failing_since < self._seconds

    def succeeded(self) -> None:
        """A pass succeeded."""
        self._failing_since = None
