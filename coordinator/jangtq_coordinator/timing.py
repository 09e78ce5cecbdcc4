"""Where each layer's time goes: attention, experts, and the dispatch around them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LayerSplit:
    """Mean milliseconds of one layer in one forward pass.

    attention: everything of the layer that the coordinator computes before its exchange.
    dispatch: the exchange less the slowest holder's own computing.
    experts: the slowest holder's own computing.
    """

    layer: int
    attention_ms: float
    dispatch_ms: float
    experts_ms: float


class LayerTimes:
    """Sums of nanoseconds a layer, recorded by the engine thread, read by any."""

    def __init__(self, layer_count: int) -> None:
        self._attention = np.zeros(layer_count, dtype=np.int64)
        self._exchange = np.zeros(layer_count, dtype=np.int64)
        self._experts = np.zeros(layer_count, dtype=np.int64)
        self._passes = np.zeros(layer_count, dtype=np.int64)

    def record_attention(self, layer: int, *, attention_ns: int) -> None:
        """Time between the end of the exchange before and the start of this one."""
        self._attention[layer] += attention_ns

    def record_exchange(self, layer: int, *, exchange_ns: int, experts_ns: int) -> None:
        """Time of a whole exchange and, of it, the slowest holder's own computing."""
        self._exchange[layer] += exchange_ns
        self._experts[layer] += experts_ns
        self._passes[layer] += 1

    def reset(self) -> None:
        """Forget everything, so that a later reading leaves out the warm-up."""
        for sums in (self._attention, self._exchange, self._experts, self._passes):
            sums[:] = 0

    def splits(self) -> tuple[LayerSplit, ...]:
        """The means since the last reset, for every layer that ran."""
        return tuple(
            LayerSplit(
                layer=layer,
                attention_ms=self._mean_ms(self._attention, layer),
                dispatch_ms=self._mean_ms(self._exchange - self._experts, layer),
                experts_ms=self._mean_ms(self._experts, layer),
            )
            for layer in np.flatnonzero(self._passes).tolist()
        )

    def _mean_ms(self, sums: NDArray[np.int64], layer: int) -> float:
        return float(sums[layer]) / int(self._passes[layer]) / 1e6
