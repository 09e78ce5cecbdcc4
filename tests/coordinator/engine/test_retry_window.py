"""How long a failed pass is tried again: from the first failure on, and only where there is hope."""

import pytest

from jangtq_coordinator.engine.retry_window import RetryWindow
from jangtq_proto.errors import CallRejectedError, WorkerMismatchError, WorkerUnreachableError

LOST = WorkerUnreachableError("lost")


def test_time_counts_from_the_start_of_the_first_pass_that_failed() -> None:
    window = RetryWindow(10)
    assert window.allows(LOST, started=100, now=103) and window.is_tried
    assert window.allows(LOST, started=105, now=109.9)
    assert not window.allows(LOST, started=109.9, now=110)
    window.succeeded()
    assert not window.is_tried and window.allows(LOST, started=200, now=205)


@pytest.mark.parametrize("error", [CallRejectedError("no"), WorkerMismatchError("no"), ValueError("no")])
def test_what_another_attempt_cannot_mend_is_not_tried_again(error: Exception) -> None:
    window = RetryWindow(10)
    assert not window.allows(error, started=0, now=0)
    assert not window.is_tried
