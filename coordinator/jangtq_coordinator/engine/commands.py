"""What the engine's thread is asked to do, and how it takes that in. Knows no model."""

import queue
from collections.abc import Sequence
from dataclasses import dataclass

from jangtq_coordinator.engine.request import GenerationRequest
from jangtq_coordinator.engine.streams import GenerationStream


@dataclass(frozen=True)
class Submit:
    """Begin with a request."""

    request: GenerationRequest
    stream: GenerationStream


@dataclass(frozen=True)
class Cancel:
    """Forget a request; nobody reads its stream any more."""

    stream: GenerationStream


@dataclass(frozen=True)
class Stop:
    """Take no more requests, and fail those that still run at `deadline` (of time.monotonic)."""

    deadline: float


Command = Submit | Cancel | Stop
Commands = queue.SimpleQueue[Command]


class CommandQueue:
    """The commands that were not obeyed yet. For the engine's thread, but for its length."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._here: list[Command] = []

    def __len__(self) -> int:
        return len(self._here) + self._commands.qsize()

    def take(self, *, wait_seconds: float | None = 0) -> list[Command]:
        """Everything that is here; waits for the first where there is nothing, for ever when None."""
        if not self.look() and wait_seconds != 0:
            try:
                self._here.append(self._commands.get(timeout=wait_seconds))
            except queue.Empty:
                return []
        taken, self._here = list(self.look()), []
        return taken

    def look(self) -> Sequence[Command]:
        """Everything that is here, left where it is."""
        while not self._commands.empty():
            self._here.append(self._commands.get_nowait())
        return self._here
