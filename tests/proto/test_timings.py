"""The pauses of production, and of tests."""

import os
import subprocess
import sys

import pytest

from jangtq_proto.timings import SCALE_VARIABLE, TIMINGS, Timings

PRINT = "from jangtq_proto.timings import TIMINGS; print(TIMINGS.probe, TIMINGS.leave_quiet)"


@pytest.mark.parametrize(("scale", "expected"), [(None, "1.0 2.5"), ("0.5", "0.5 1.25")])
def test_the_environment_scales_all_pauses_together(scale: str | None, expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != SCALE_VARIABLE}
    environment |= {SCALE_VARIABLE: scale} if scale else {}
    done = subprocess.run([sys.executable, "-c", PRINT], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr


def test_coordinators_learn_that_a_worker_leaves_before_it_stops() -> None:
    assert TIMINGS.leave_quiet > 2 * TIMINGS.probe
    assert Timings().scaled(3).leave_most == 30
