"""Where each layer's time goes, as counters that any thread may read. Knows no network and no clock."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

STAGES: Final = ("attention", "encode", "wire", "queue", "compute", "decode", "reduce")
_FIRST_BOUND_BITS: Final = 10
_BOUNDS: Final = 24
UPPER_BOUNDS_SECONDS: Final = tuple(2 ** (_FIRST_BOUND_BITS + i) / 1e9 for i in range(_BOUNDS))
"""Of the histograms' buckets: 1.024 us, and each twice the one before, up to 8.6 s."""


def bucket_of(nanoseconds: int) -> int:
    """The histogram's bucket: the first whose bound is not smaller, or one past the last."""
    bucket = (nanoseconds - 1 >> _FIRST_BOUND_BITS).bit_length() if nanoseconds > 0 else 0
    return bucket if bucket < _BOUNDS else _BOUNDS


class ExchangeTimes(NamedTuple):
    """One layer's stamps of time.perf_counter_ns, and durations in nanoseconds.

    began: the coordinator turned to the layer; started: its rows and experts were known; sent: every worker
    had been asked; waited: the coordinator had nothing else to do but wait; read: the last answer was there;
    ended: the sums were added. decode, of all answers; queue and compute, as the slowest worker reports.
    """

    layer: int
    rows: int
    began: int
    started: int
    sent: int
    waited: int
    read: int
    ended: int
    decode: int
    queue: int
    compute: int
    slowest_worker: str

    def stages(self) -> tuple[int, int, int, int, int, int, int]:
        """Nanoseconds of each of STAGES, which add up to the layer's time, except for what other work hid.

        The slowest worker's queue and computing explain the waiting; the rest of it is the wire's.
        """
        waiting = self.read - self.waited
        decode = min(self.decode, waiting)
        compute = min(self.compute, waiting - decode)
        queue = min(self.queue, waiting - decode - compute)
        wire = waiting - decode - compute - queue
        attention, encode = self.started - self.began, self.sent - self.started
        return attention, encode, wire, queue, compute, decode, self.ended - self.read


@dataclass(frozen=True)
class LayerSplit:
    """Mean milliseconds of one layer in one forward pass.

    attention: everything of the layer that the coordinator computes before its exchange.
    dispatch: encode, wire, queue, decode and reduce. experts: the slowest worker's computing that was waited
    for.
    """

    layer: int
    attention_ms: float
    dispatch_ms: float
    experts_ms: float


@dataclass(frozen=True)
class StageHistogram:
    """How often one stage of any layer took how long; `counts` has one more than the bounds, for the rest."""

    stage: str
    upper_bounds_seconds: tuple[float, ...]
    counts: tuple[int, ...]
    sum_seconds: float


class LayerTimes:
    """Histograms of every stage of every layer. One thread at a time records, any thread reads."""

    def __init__(self, layer_count: int) -> None:
        # Lists, because NumPy takes three times as long to count one.
        self._counts = [[[0] * (_BOUNDS + 1) for _ in STAGES] for _ in range(layer_count)]
        self._sums = [[0] * len(STAGES) for _ in range(layer_count)]

    def record(self, times: ExchangeTimes) -> None:
        """Count one exchange."""
        counts, sums = self._counts[times.layer], self._sums[times.layer]
        for stage, nanoseconds in enumerate(times.stages()):
            counts[stage][bucket_of(nanoseconds)] += 1
            sums[stage] += nanoseconds

    def histograms(self) -> tuple[StageHistogram, ...]:
        """One a stage, over all layers, since the start."""
        counts = np.array(self._counts, dtype=np.int64).sum(axis=0)
        sums = np.array(self._sums, dtype=np.int64).sum(axis=0)
        return tuple(
            StageHistogram(stage, UPPER_BOUNDS_SECONDS, tuple(counts[i].tolist()), float(sums[i]) / 1e9)
            for i, stage in enumerate(STAGES)
        )

    def splits(self) -> tuple[LayerSplit, ...]:
        """The means since the start, for every layer that ran."""
        return tuple(
            self._split(layer, sum(counts[0])) for layer, counts in enumerate(self._counts) if any(counts[0])
        )

    def _split(self, layer: int, passes: int) -> LayerSplit:
        means: NDArray[np.float64] = np.array(self._sums[layer]) / passes / 1e6
        attention, compute = (float(means[STAGES.index(stage)]) for stage in ("attention", "compute"))
        return LayerSplit(layer, attention, float(means.sum()) - attention - compute, compute)
