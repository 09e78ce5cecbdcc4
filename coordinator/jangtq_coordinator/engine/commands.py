"""Commands to the engine's thread, and its queue of them. Knows no model."""

import queue
from collections.abc import Sequence
from dataclasses import dataclass

from jangtq_coordinator.engine.request import GenerationRequest
from jangtq_coordinator.engine.streams import GenerationStream


@dataclass(frozen=True)
class Submit:
    """Start a request."""

    request: GenerationRequest
    stream: GenerationStream


@dataclass(frozen=True)
class Cancel:
    """Drop a request whose stream has no reader any more."""

    stream: GenerationStream


@dataclass(frozen=True)
class Stop:
    """Take no more requests, and fail those that still run at `deadline` (of time.monotonic)."""

    deadline: float


Command = Submit | Cancel | Stop
Commands = queue.SimpleQueue[Command]


class CommandQueue:
    """Commands not handled yet. Engine thread only; len() is safe in any thread."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._here: list[Command] = []

    def __len__(self) -> int:
        return len(self._here) + self._commands.qsize()

    def take(self, *, wait_seconds: float | None = 0) -> list[Command]:
        """Remove and return all commands; wait up to `wait_seconds` for the first, None for ever."""
        if not self.look() and wait_seconds != 0:
            try:
                self._here.append(self._commands.get(timeout=wait_seconds))
            except queue.Empty:
                return []
        taken, self._here = list(self.look()), []
        return taken

    def look(self) -> Sequence[Command]:
        """All commands, left in the queue."""
        while not self._commands.empty():
            self._here.append(self._commands.get_nowait())
        return self._here
