"""Commands of the project as forks of one process that has imported them, which saves seconds of imports.

Only on Linux: macOS lets no process fork that has loaded its frameworks. Whole runs start real interpreters.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from typing import IO, Any, Final

from jangtq_coordinator.cli.demo.processes import Children, Process, start_process
from tests.support.products import IS_WHOLE

_CAN_FORK: Final = sys.platform == "linux" and not IS_WHOLE
_PYTHON: Final = [sys.executable, "-m"]
_MODULES: Final = ("jangtq_coordinator", "jangtq_worker")
# multiprocessing reads a process's end once, and looks for ended ones whenever it starts another.
_POLLING: Final = threading.Lock()
_IMPORTED: Final = ["jangtq_coordinator.cli.serve", "jangtq_worker.server", "tests.support.forks"]


def processes() -> Children:
    """Processes for tests, forks where the machine and the command allow it."""
    return Children(_start)


def run_command(*command: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m` this to its end."""
    if not _is_forked([*_PYTHON, *command]):
        return subprocess.run([*_PYTHON, *command], capture_output=True, text=True, timeout=120, check=False)
    module, *arguments = command
    return Fork(module, arguments, stderr=subprocess.PIPE).run_to_end()


def _start(command: Sequence[str]) -> Process:
    if not _is_forked(command):
        return start_process(command)
    return Fork(command[2], command[3:])


def _is_forked(command: Sequence[str]) -> bool:
    return _CAN_FORK and [*command[:2]] == _PYTHON and command[2] in _MODULES


class Fork:
    """`python -m module arguments`, with what tests use of a `subprocess.Popen`."""

    def __init__(self, module: str, arguments: Sequence[str], *, stderr: int = subprocess.STDOUT) -> None:
        child_in, own_in = os.pipe()
        own_out, child_out = os.pipe()
        own_err, child_err = os.pipe() if stderr == subprocess.PIPE else (None, child_out)
        self._process = _forks().Process(
            target=_run,
            args=(module, [*arguments], dict(os.environ), _Streams(child_in, child_out, child_err)),
        )
        with _POLLING:
            self._process.start()
        for number in {child_in, child_out, child_err}:
            os.close(number)
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self.stdin: IO[str] | None = open(own_in, "w")
        self.stdout: IO[str] | None = open(own_out, errors="replace")
        self.stderr: IO[str] | None = None if own_err is None else open(own_err, errors="replace")

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with _POLLING:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        if not wait([self._process.sentinel], timeout):
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def run_to_end(self, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """What it wrote and its exit code. Raises subprocess.TimeoutExpired."""
        assert self.stdin and self.stdout and self.stderr
        self.stdin.close()
        with self.stdout, self.stderr, ThreadPoolExecutor() as pool:
            stdout, stderr = pool.submit(self.stdout.read), pool.submit(self.stderr.read)
            code = self.wait(timeout)
            return subprocess.CompletedProcess(self._process.name, code, stdout.result(), stderr.result())

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


class _Streams:
    """File descriptors that travel to the fork."""

    def __init__(self, *numbers: int) -> None:
        self.numbers: Sequence[Any] = numbers

    def __getstate__(self) -> list[Any]:
        return [DupFd(number) for number in self.numbers]

    def __setstate__(self, sent: list[Any]) -> None:
        self.numbers = [number.detach() for number in sent]

    def become_standard(self) -> None:
        for standard, number in enumerate(self.numbers):
            os.dup2(number, standard)
        for number in set(self.numbers):
            os.close(number)
        sys.stdin = open(0, closefd=False)
        sys.stdout = open(1, "w", closefd=False)
        sys.stderr = open(2, "w", buffering=1, closefd=False)


@cache
def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context


def _run(module: str, arguments: list[str], environment: dict[str, str], streams: _Streams) -> None:
    streams.become_standard()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
