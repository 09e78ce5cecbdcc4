"""Tokens per second expected of one sequence, from times that are measured or assumed. Pure.

docs/performance-model.md explains the model and gives the sources of its constants. It is a model: nothing in
this module was measured on a Mac.
"""

from dataclasses import dataclass
from typing import Final

LAYERS: Final = 62
"""Of MiniMax-M2.7, as are all the sizes below."""
DENSE_BYTES: Final = 44_000_000
"""Weights of attention and router that a token reads in one layer, 8 bits."""
EXPERT_BYTES: Final = 28_400_000
"""Codes and norms of 8 experts in one layer, 2 bits."""
OUTSIDE_US: Final = 2000.0
"""Head and sampling of a token, assumed."""


@dataclass(frozen=True)
class LayerCosts:
    """Microseconds of one layer for one row, part by part; all in series.

    attention: the coordinator's work on its device. experts: the slowest worker's work on its device.
    crossings: waiting for a device to hand its result to the processor, coordinator and worker together.
    exchange: sending and receiving, to the slowest worker. host: Python and native code on both sides.
    """

    attention: float
    experts: float
    crossings: float
    exchange: float
    host: float

    @property
    def layer(self) -> float:
        """All parts: none of them overlaps another for a single sequence."""
        return self.attention + self.experts + self.crossings + self.exchange + self.host


@dataclass(frozen=True)
class Expectation:
    """What a model of a whole token says."""

    times: LayerCosts
    layers: int = LAYERS
    outside_us: float = OUTSIDE_US

    @property
    def token_us(self) -> float:
        """Microseconds of a token."""
        return self.layers * self.times.layer + self.outside_us

    @property
    def tokens_per_second(self) -> float:
        """Of one sequence, without speculation; accepted tokens a pass multiply it."""
        return 1e6 / self.token_us


def memory_us(nbytes: int, *, gigabytes_per_second: float, share: float = 1.0) -> float:
    """The least time to read so many bytes, at a share of the bandwidth. Raises ValueError."""
    if gigabytes_per_second <= 0 or not 0 < share <= 1:
        raise ValueError(
            f"bandwidth {gigabytes_per_second} GB/s, share {share}: expected above 0, share up to 1"
        )
    return nbytes / (gigabytes_per_second * share * 1e3)


def budget_us(tokens_per_second: float, *, device_us: float, layers: int = LAYERS) -> float:
    """What crossings, exchange and host may take a layer for so many tokens per second."""
    return (1e6 / tokens_per_second - OUTSIDE_US) / layers - device_us


CROSSING_US: Final = 180.0
"""GPU to processor and back, the default fence of MLX between streams (mlx issue 4438); `mx.eval` with a
readback is another path, and `jangtq-coord doctor --measure` measures it."""
M4_MAX_ATTENTION_US: Final = 150.0
M4_MAX_EXPERTS_US: Final = 70.0

TWO_M4_MAX: Final = {
    "gRPC over Thunderbolt, round trip 300 us": LayerCosts(
        M4_MAX_ATTENTION_US, M4_MAX_EXPERTS_US, 2 * CROSSING_US, exchange=300.0, host=370.0
    ),
    "express, polled, round trip 100 us": LayerCosts(
        M4_MAX_ATTENTION_US, M4_MAX_EXPERTS_US, 2 * CROSSING_US, exchange=100.0, host=310.0
    ),
    "the same, wired, one command buffer, host time halved": LayerCosts(
        M4_MAX_ATTENTION_US, M4_MAX_EXPERTS_US, 2 * CROSSING_US, exchange=100.0, host=180.0
    ),
    "bound of two crossings: no network, no host time": LayerCosts(
        M4_MAX_ATTENTION_US, M4_MAX_EXPERTS_US, 2 * CROSSING_US, exchange=0.0, host=0.0
    ),
    "one crossing of 180 us, exchange 30 us": LayerCosts(
        M4_MAX_ATTENTION_US, M4_MAX_EXPERTS_US, CROSSING_US, exchange=30.0, host=0.0
    ),
    "native events, polled: 50 us both ways, exchange 80 us": LayerCosts(
        M4_MAX_ATTENTION_US, M4_MAX_EXPERTS_US, 50.0, exchange=80.0, host=0.0
    ),
}
"""The variants of docs/performance-model.md: two M4 Max with 64 GB, expected and not measured."""
