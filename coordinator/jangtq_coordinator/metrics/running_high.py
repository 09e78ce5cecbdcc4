"""A mark that few values exceed, learned from a stream of them."""

from typing import Final

_RISE: Final = 0.3
_DECAY: Final = 0.003


class RunningHigh:
    """A running mark that few values exceed: it rises 100 times as fast as it sinks (a 99% expectile)."""

    def __init__(self, first: float) -> None:
        self.value = first

    def add(self, value: float) -> None:
        if value > self.value:
            self.value += _RISE * (value - self.value)
        else:
            self.value -= _DECAY * (self.value - value)
