"""A process whose standard input is its lifeline ends with the one that started it."""

import subprocess
import sys

SCRIPT = """
import threading
from jangtq_proto.lifeline import stop_at_end_of_stdin
stopped = threading.Event()
stop_at_end_of_stdin(stopped.set)
assert not stopped.wait(0.1)
print("running", flush=True)
assert stopped.wait(60)
print("stopped")
"""


def test_the_end_of_standard_input_stops_the_process() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("whatever is said is no end\n")
    process.stdin.flush()
    assert process.stdout.readline() == "running\n"
    said, _ = process.communicate()
    assert (said, process.returncode) == ("stopped\n", 0)
