"""One layer's exchange: split the rows, ask every holder at once, add the partial sums in a fixed order."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.expert_load import ExpertLoad
from jangtq_coordinator.lane import Lane, LayerAnswer, LayerCall
from jangtq_coordinator.routing import HolderRows, Router
from jangtq_coordinator.timeline import Timeline
from jangtq_coordinator.timing import ExchangeTimes, LayerTimes
from jangtq_proto.codec import Rows


@dataclass(frozen=True)
class Exchange:
    """A layer's rows on their way through their holders: what was asked of each, under which call id."""

    layer: int
    shape: tuple[int, ...]
    parts: tuple[HolderRows, ...]
    call_ids: tuple[int, ...]
    began_ns: int
    started_ns: int
    sent_ns: int


class Dispatcher:
    """Used by one thread. Holder `i` of `owner` is reached over `lanes[i]`; `load` counts what is picked."""

    def __init__(
        self,
        owner: NDArray[np.int32],
        lanes: Sequence[Lane],
        times: LayerTimes,
        load: ExpertLoad | None = None,
    ) -> None:
        self._router = Router(owner)
        self._lanes = tuple(lanes)
        self._times = times
        self._load = load
        self.timeline = Timeline()

    @property
    def times(self) -> LayerTimes:
        return self._times

    def begin(
        self,
        layer: int,
        rows: Rows,
        *,
        expert_ids: NDArray[np.int32],
        router_weights: NDArray[np.float32],
        began_ns: int | None = None,
    ) -> Exchange:
        """Ask every holder of a picked expert; several exchanges may be under way.

        rows: [rows, hidden]; expert_ids, router_weights: [rows, slots]. `began_ns` is the stamp of
        time.perf_counter_ns at which the caller turned to this layer. Raises ClusterError, and then no
        exchange is under way any more.
        """
        started_ns = time.perf_counter_ns()
        parts = self._router.split(expert_ids, router_weights)
        try:
            call_ids = tuple(self._send(layer, rows, part) for part in parts)
        except BaseException:
            self.abandon()
            raise
        sent_ns = time.perf_counter_ns()
        if self._load is not None:
            # Counted while the workers are busy already.
            self._load.record(layer, expert_ids)
        began_ns = started_ns if began_ns is None else began_ns
        return Exchange(layer, rows.shape, parts, call_ids, began_ns, started_ns, sent_ns)

    def finish(self, exchange: Exchange) -> NDArray[np.float32]:
        """Wait for its answers: the weighted sum of the picked experts of each row, float32 [rows, hidden].

        Raises ClusterError, and then no exchange is under way any more.
        """
        waited_ns = time.perf_counter_ns()
        asked = zip(exchange.parts, exchange.call_ids, strict=True)
        try:
            answers = [self._lanes[part.holder].receive(call_id) for part, call_id in asked]
        except BaseException:
            self.abandon()
            raise
        read_ns = time.perf_counter_ns()
        sums = _reduce(exchange.shape, exchange.parts, answers)
        self._record(_times_of(exchange, answers, waited_ns=waited_ns, read_ns=read_ns))
        return sums

    def forward(
        self,
        layer: int,
        rows: Rows,
        *,
        expert_ids: NDArray[np.int32],
        router_weights: NDArray[np.float32],
        began_ns: int | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> NDArray[np.float32]:
        """Begin and finish; `meanwhile` runs while the workers compute."""
        exchange = self.begin(
            layer, rows, expert_ids=expert_ids, router_weights=router_weights, began_ns=began_ns
        )
        if meanwhile is not None:
            try:
                meanwhile()
            except BaseException:
                self.abandon()
                raise
        return self.finish(exchange)

    def abandon(self) -> None:
        """Give up every exchange under way, so that no lane keeps a half-done call."""
        for lane in self._lanes:
            lane.abandon()

    def close(self) -> None:
        """Close every lane."""
        for lane in self._lanes:
            lane.close()

    def _record(self, times: ExchangeTimes) -> None:
        self._times.record(times)
        self.timeline.record_exchange(times)

    def _send(self, layer: int, rows: Rows, part: HolderRows) -> int:
        part_rows = rows if part.row_index is None else rows[part.row_index]
        return self._lanes[part.holder].send(
            LayerCall(layer, part_rows, part.expert_ids, part.router_weights)
        )


def _times_of(
    exchange: Exchange, answers: Sequence[LayerAnswer], *, waited_ns: int, read_ns: int
) -> ExchangeTimes:
    own_times = [answer.queue_ns + answer.compute_ns for answer in answers]
    slowest = own_times.index(max(own_times))
    return ExchangeTimes(
        exchange.layer,
        exchange.shape[0],
        began=exchange.began_ns,
        started=exchange.started_ns,
        sent=exchange.sent_ns,
        waited=waited_ns,
        read=read_ns,
        ended=time.perf_counter_ns(),
        decode=sum(answer.decode_ns for answer in answers),
        queue=answers[slowest].queue_ns,
        compute=answers[slowest].compute_ns,
        slowest_holder=exchange.parts[slowest].holder,
    )


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
