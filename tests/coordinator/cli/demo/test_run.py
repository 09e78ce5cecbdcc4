"""`jangtq-coord demo --serve`: a cluster that stays up until it is told to stop, and leaves nothing."""

import signal
import sys

import httpx
import psutil
import pytest

from jangtq_coordinator.cli.demo.processes import Child, start_process
from tests.support.products import IS_WHOLE

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if IS_WHOLE else (signal.SIGINT,)


@pytest.mark.parametrize("end", ENDS)
def test_a_served_demo_ends_with_all_its_processes(end: signal.Signals) -> None:
    command = [sys.executable, "-m", "jangtq_coordinator", "demo", "--serve", "--port", "0"]
    demo = Child("demo", start_process(command))
    try:
        url = demo.wait_for("open ", 120).split()[0]
        assert httpx.get(url, trust_env=False, timeout=10).status_code == 200
        children = psutil.Process(demo.process.pid).children(recursive=True)
        assert len(children) == 3
        demo.process.send_signal(end)
        assert demo.process.wait(60) == 0
        assert psutil.wait_procs(children, timeout=30)[1] == []
    finally:
        demo.stop(10)
