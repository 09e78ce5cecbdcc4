"""One layer's exchange: split the rows, ask every holder at once, add the partial sums in a fixed order."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.lane import Lane, LayerAnswer, LayerCall
from jangtq_coordinator.routing import HolderRows, Router
from jangtq_coordinator.timing import LayerTimes
from jangtq_proto.codec import Rows


class Dispatcher:
    """Used by one thread. Holder `i` of `owner` is reached over `lanes[i]`."""

    def __init__(self, owner: NDArray[np.int32], lanes: Sequence[Lane], times: LayerTimes) -> None:
        self._router = Router(owner)
        self._lanes = tuple(lanes)
        self._times = times

    @property
    def times(self) -> LayerTimes:
        return self._times

    def forward(
        self,
        layer: int,
        rows: Rows,
        *,
        expert_ids: NDArray[np.int32],
        router_weights: NDArray[np.float32],
        meanwhile: Callable[[], None] | None = None,
    ) -> NDArray[np.float32]:
        """Weighted sum of the picked experts of each row, float32 [rows, hidden].

        rows: [rows, hidden]; expert_ids, router_weights: [rows, slots]. `meanwhile` runs while the
        workers compute. Raises ClusterError; no lane keeps a half-done call afterwards.
        """
        started = time.perf_counter_ns()
        parts = self._router.split(expert_ids, router_weights)
        try:
            answers = self._exchange(layer, rows, parts, meanwhile)
        except BaseException:
            for part in parts:
                self._lanes[part.holder].abandon()
            raise
        sums = _reduce(rows.shape, parts, answers)
        slowest = max(answer.compute_ns for answer in answers)
        self._times.record_exchange(layer, exchange_ns=time.perf_counter_ns() - started, experts_ns=slowest)
        return sums

    def close(self) -> None:
        """Close every lane."""
        for lane in self._lanes:
            lane.close()

    def _exchange(
        self,
        layer: int,
        rows: Rows,
        parts: tuple[HolderRows, ...],
        meanwhile: Callable[[], None] | None,
    ) -> list[LayerAnswer]:
        for part in parts:
            part_rows = rows if part.row_index is None else rows[part.row_index]
            self._lanes[part.holder].send(LayerCall(layer, part_rows, part.expert_ids, part.router_weights))
        if meanwhile is not None:
            meanwhile()
        return [self._lanes[part.holder].receive() for part in parts]


def _reduce(
    shape: tuple[int, ...], parts: tuple[HolderRows, ...], answers: list[LayerAnswer]
) -> NDArray[np.float32]:
    """Add in holder order, so that the order of arrival never shows."""
    if len(parts) == 1 and parts[0].row_index is None:
        return answers[0].partial_sums
    sums = np.zeros(shape, dtype=np.float32)
    for part, answer in zip(parts, answers, strict=True):
        if part.row_index is None:
            sums += answer.partial_sums
        else:
            sums[part.row_index] += answer.partial_sums
    return sums
