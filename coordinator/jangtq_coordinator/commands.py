"""What the engine's thread is asked to do, and the way to it from other threads."""

import queue
from dataclasses import dataclass

from jangtq_coordinator.requests import GenerationRequest
from jangtq_coordinator.streams import GenerationStream


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
