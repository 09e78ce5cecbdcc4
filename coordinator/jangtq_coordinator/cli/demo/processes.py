"""Processes started and stopped together. Each prints a line when it is ready; none outlives this process."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Protocol

from jangtq_proto.errors import JangtqError

_LISTENING = "listening on "
_READY = "ready: "


class ChildError(JangtqError):
    """A process ended, or printed nothing in time, before it was ready."""


class Process(Protocol):
    """What is used of a `subprocess.Popen[str]`."""

    stdin: IO[str] | None
    stdout: IO[str] | None

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Child:
    """One process.

    Its standard input is a lifeline: it closes when this process dies, and the child stops.
    """

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.process = process
        self.lines: list[str] = []
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self._read_output, name=f"output of {name}", daemon=True)
        self.reader.start()

    def wait_for(self, prefix: str, timeout_seconds: float) -> str:
        """The rest of the first line that starts with `prefix`. Raises ChildError with the last lines."""
        deadline = time.monotonic() + timeout_seconds
        with self.news:
            while True:
                for line in self.lines:
                    if line.startswith(prefix):
                        return line.removeprefix(prefix)
                left = deadline - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    raise ChildError(f"{self.name} did not get ready:\n" + "\n".join(self.lines[-15:]))
                self.news.wait(min(left, 0.5))

    def listening(self, timeout_seconds: float = 180) -> str:
        """The address it listens at."""
        return self.wait_for(_LISTENING, timeout_seconds)

    def ready(self, timeout_seconds: float = 600) -> str:
        """Its line once it serves."""
        return self.wait_for(_READY, timeout_seconds)

    def stop(self, timeout_seconds: float) -> None:
        """Terminate the process, kill it after the timeout, and wait for its end."""
        self.process.terminate()
        try:
            self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()


def start_process(command: Sequence[str]) -> Process:
    """Start a command with pipes for its input and for its output, which includes its errors."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


class Children:
    """`with Children() as children:` stops all that was started in it, in reverse order."""

    def __init__(self, start: Callable[[Sequence[str]], Process] = start_process) -> None:
        self._start = start
        self._children: list[Child] = []

    def __enter__(self) -> "Children":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, module: str, arguments: Sequence[str], *, under: Sequence[str] = ()) -> Child:
        """Start `python -m module arguments`, after the words of `under`."""
        child = Child(name, self._start([*under, sys.executable, "-m", module, *arguments]))
        self._children.append(child)
        return child

    def stop(self, timeout_seconds: float = 15) -> None:
        """Stop one after the other: SIGTERM, wait, SIGKILL if it still runs."""
        while self._children:
            self._children.pop().stop(timeout_seconds)
