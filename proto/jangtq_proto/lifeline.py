"""Standard input as a lifeline: a process ends when the one that started it ends, in whatever way."""

import os
import sys
import threading
from collections.abc import Callable


def stop_at_end_of_stdin(stop: Callable[[], object]) -> None:
    """Call `stop` from a thread of its own once standard input is closed."""
    threading.Thread(target=_watch, args=(stop,), name="lifeline", daemon=True).start()


def _watch(stop: Callable[[], object]) -> None:
    # Not sys.stdin: its lock, held by a daemon thread, would abort the interpreter's end.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop()
