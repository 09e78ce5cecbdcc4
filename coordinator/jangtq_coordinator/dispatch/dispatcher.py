"""One layer's exchange: split the rows, ask every worker at once, add the partial sums on each row's grid.

A part without an answer goes to another worker; an exchange waits or fails only when none is left.
"""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.counters import ClusterCounters
from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.dispatch.audit import Auditor
from jangtq_coordinator.dispatch.codec import Codec, LayerRows, Sums
from jangtq_coordinator.dispatch.collector import Collector, Timeouts
from jangtq_coordinator.dispatch.connection_pool import OpenConnection
from jangtq_coordinator.dispatch.exchange import Exchange
from jangtq_coordinator.dispatch.grid import expected_answer_factor, is_prefill
from jangtq_coordinator.dispatch.routes import Routes
from jangtq_coordinator.metrics.expert_load import ExpertLoad
from jangtq_coordinator.metrics.layer_times import LayerTimes
from jangtq_coordinator.metrics.recorder import CallRecord, ExchangeRecord, Recorder
from jangtq_coordinator.metrics.timeline import Timeline
from jangtq_coordinator.metrics.worker_traffic import ClusterTraffic
from jangtq_coordinator.readiness import Readiness
from jangtq_proto.errors import WorkerFaultError
from jangtq_proto.wire.codec import Rows

MOST_ASKS: Final = 4
"""One is enough for nearly all rows, and two for all, unless a worker changes its answers."""


class Dispatcher:
    """Used by one thread. Follows the placement of `membership`; `open_connection` connects to a member.

    `codec` makes frames and sums; an exchange that waits for a worker calls `readiness`. `audit` is the share
    of exchanges that a second worker computes, too. scales: float64 [layers] as of
    `Bundle.layer_scales`. `records` is only ever false to measure what recording costs.
    """

    def __init__(
        self,
        membership: Membership,
        open_connection: OpenConnection,
        codec: Codec,
        *,
        scales: NDArray[np.float64],
        timeouts: Timeouts | None = None,
        readiness: Readiness | None = None,
        audit: float = 0.0,
    ) -> None:
        self._membership = membership
        self._codec = codec
        self._scales: list[float] = scales.tolist()
        timeouts = timeouts or Timeouts()
        routes = Routes(membership, timeouts.call_seconds)
        self._recorder = Recorder(len(scales), len(membership.placement.workers_of), routes.record)
        self._collector = Collector(
            membership,
            open_connection,
            codec,
            routes,
            self._recorder,
            timeouts=timeouts,
            readiness=readiness or Readiness(),
        )
        self._audits = audit > 0
        self._auditor = Auditor(membership, self._collector, rate=audit)
        self.records = True
        self._open_exchanges = 0
        self.waited_ns = 0
        """Nanoseconds since the start in which the thread only waited for workers."""

    @property
    def times(self) -> LayerTimes:
        return self._recorder.times

    @property
    def timeline(self) -> Timeline:
        return self._recorder.timeline

    @property
    def traffic(self) -> ClusterTraffic:
        return self._recorder.traffic

    @property
    def load(self) -> ExpertLoad:
        return self._recorder.load

    @property
    def counters(self) -> ClusterCounters:
        return self._membership.counters

    def begin(
        self,
        layer: int,
        rows: Rows,
        *,
        expert_ids: NDArray[np.int32],
        router_weights: NDArray[np.float32],
        began_ns: int | None = None,
    ) -> Exchange:
        """Send a layer's calls to the workers; several exchanges may be open.

        rows: [rows, hidden]; expert_ids, router_weights: [rows, slots]. `began_ns` is the
        time.perf_counter_ns at which the caller began with this layer.
        """
        started_ns = time.perf_counter_ns()
        self._collector.keep_up(idle=not self._open_exchanges)
        factor = expected_answer_factor(self._scales[layer], rows.shape[1])
        exponents = self._codec.choose_exponents(rows, factor)
        asked = LayerRows(layer, rows, expert_ids, router_weights, exponents, is_prefill(expert_ids))
        exchange = Exchange(asked, began_ns or started_ns, started_ns)
        self._open_exchanges += 1
        try:
            self._collector.ask(exchange)
        except BaseException:
            self.abandon()
            raise
        exchange.sent_ns = time.perf_counter_ns()
        self._recorder.flush_many()
        return exchange

    def finish(self, exchange: Exchange) -> NDArray[np.float32]:
        """Wait for the answers: the weighted sum of the picked experts of each row, float32 [rows, hidden].

        Raises ClusterError, and then no exchange is open any more.
        """
        waited_ns = time.perf_counter_ns()
        try:
            sums = self._collector.collect(exchange)
            if self._audits and self._auditor.is_due() and self._auditor.audit(exchange):
                sums = self._collector.collect(exchange)
            read_ns = max((one.read_ns for one in exchange.answered), default=waited_ns) + sums.decode_ns
            values = self._with_suitable_grids(exchange.rows, sums)
        except BaseException:
            self.abandon()
            raise
        self._open_exchanges = max(0, self._open_exchanges - 1)
        self.waited_ns += max(0, read_ns - waited_ns)
        self._note(exchange, sums, waited_ns, max(read_ns, waited_ns))
        return values

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
        """Abandon all open exchanges, so that no connection keeps an unfinished call."""
        self._open_exchanges = 0
        self._collector.abandon()

    def close(self) -> None:
        """Close every connection."""
        self._collector.close()

    def _with_suitable_grids(self, asked: LayerRows, sums: Sums, *, asks: int = 1) -> NDArray[np.float32]:
        """The sums; rows whose grid did not suit their answers are computed again on the finest grid."""
        unfit = list(sums.unfit)
        if not unfit:
            return sums.values
        if asks == MOST_ASKS:
            raise WorkerFaultError(f"layer {asked.layer}: answers change whenever they are asked for")
        self._membership.counters.second_asks += len(unfit)
        now = time.perf_counter_ns()
        picked = asked._replace(
            rows=asked.rows[unfit],
            expert_ids=asked.expert_ids[unfit],
            router_weights=asked.router_weights[unfit],
            exponents=sums.finest[unfit],
        )
        again = Exchange(picked, now, now)
        self._collector.ask(again)
        found = self._collector.collect(again)
        sums.values[unfit] = self._with_suitable_grids(again.rows, found, asks=asks + 1)
        return sums.values

    def _note(self, exchange: Exchange, sums: Sums, waited_ns: int, read_ns: int) -> None:
        calls = tuple(
            CallRecord(member.name, part.row_count, part.picks, part.distinct, sent_ns, call_read_ns, *times)
            for (part, member, _, sent_ns, call_read_ns), times in zip(
                exchange.answered, sums.times, strict=True
            )
        )
        rows = exchange.rows
        self._recorder.note(
            ExchangeRecord(
                rows.layer,
                rows.expert_ids,
                exchange.began_ns,
                exchange.started_ns,
                exchange.sent_ns,
                waited_ns,
                read_ns,
                time.perf_counter_ns(),
                sums.decode_ns,
                calls,
                self.records,
            )
        )
