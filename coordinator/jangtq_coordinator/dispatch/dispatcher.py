"""One layer's exchange: split the rows, ask every worker at once, add the partial sums on each row's grid.

A part without an answer goes to another worker; an exchange waits or fails only when none is left.
"""

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.counters import ClusterCounters
from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.dispatch.audit import Auditor
from jangtq_coordinator.dispatch.codec import Codec, LayerRows
from jangtq_coordinator.dispatch.collector import Collector, Timeouts
from jangtq_coordinator.dispatch.connection_pool import ConnectionPool, OpenConnection
from jangtq_coordinator.dispatch.direct import MOST_ROWS, DirectExchange, DirectExchanges
from jangtq_coordinator.dispatch.exchange import Exchange, ExchangeSums
from jangtq_coordinator.dispatch.grid import expected_answer_factor, is_prefill
from jangtq_coordinator.dispatch.native_codec import NativeCodec
from jangtq_coordinator.dispatch.routes import Routes
from jangtq_coordinator.metrics.expert_load import ExpertLoad
from jangtq_coordinator.metrics.layer_times import LayerTimes
from jangtq_coordinator.metrics.recorder import ExchangeRecord, Recorder
from jangtq_coordinator.metrics.timeline import Timeline
from jangtq_coordinator.metrics.worker_traffic import ClusterTraffic
from jangtq_coordinator.readiness import Readiness
from jangtq_proto.wire.codec import Rows

AnyExchange = Exchange | DirectExchange
_FIRST_CALL: Final = 1


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
        connections, call_ids = ConnectionPool(open_connection), itertools.count(_FIRST_CALL)
        self._collector = Collector(
            membership,
            connections,
            call_ids,
            codec,
            routes,
            self._recorder,
            timeouts=timeouts,
            readiness=readiness or Readiness(),
        )
        self._opened: DirectExchange | None = None
        self._direct: DirectExchanges | None = None
        if isinstance(codec, NativeCodec) and not audit:
            self._direct = DirectExchanges(
                codec.turn, routes, connections, call_ids, gives_up=self._collector.gives_up
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
    ) -> AnyExchange:
        """Send a layer's calls to the workers; several exchanges may be open.

        rows: [rows, hidden]; expert_ids, router_weights: [rows, slots]. `began_ns` is the
        time.perf_counter_ns at which the caller began with this layer.
        """
        started_ns = time.perf_counter_ns()
        began_ns = began_ns or started_ns
        self._collector.keep_up(idle=not self._open_exchanges)
        factor = expected_answer_factor(self._scales[layer], rows.shape[1])
        prefill = is_prefill(expert_ids)
        exchange: AnyExchange
        try:
            if self._direct is not None and self._may_go_directly(rows, prefill):
                exchange = self._opened = self._direct.ask(
                    layer,
                    rows,
                    expert_ids=expert_ids,
                    router_weights=router_weights,
                    factor=factor,
                    began_ns=began_ns,
                    started_ns=started_ns,
                )
            else:
                exponents = self._codec.choose_exponents(rows, factor)
                asked = LayerRows(layer, rows, expert_ids, router_weights, exponents, prefill)
                exchange = Exchange(asked, began_ns, started_ns)
                self._collector.ask(exchange)
                exchange.sent_ns = time.perf_counter_ns()
        except BaseException:
            self.abandon()
            raise
        self._open_exchanges += 1
        self._recorder.flush_many()
        return exchange

    def finish(self, exchange: AnyExchange) -> NDArray[np.float32]:
        """Wait for the answers: the weighted sum of the picked experts of each row, float32 [rows, hidden].

        Raises ClusterError, and then no exchange is open any more.
        """
        waited_ns = time.perf_counter_ns()
        try:
            found = self._collect(exchange, waited_ns)
        except BaseException:
            self.abandon()
            raise
        self._end(exchange, found, waited_ns)
        return found.values

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
        self._opened = None
        self._collector.abandon()

    def close(self) -> None:
        """Close every connection."""
        self._collector.close()

    def _may_go_directly(self, rows: Rows, prefill: bool) -> bool:
        """One exchange may; one that is open already becomes an ordinary one when another begins."""
        if self._opened is not None:
            self._hand_over(self._opened)
        return not (self._open_exchanges or prefill or len(rows) > MOST_ROWS)

    def _hand_over(self, opened: DirectExchange) -> Exchange:
        assert self._direct is not None, "it opened the exchange"
        self._opened = None
        exchange, failures = self._direct.hand_over(opened)
        for failure in failures:
            self._collector.judge(exchange, failure)
        return exchange

    def _collect(self, exchange: AnyExchange, waited_ns: int) -> ExchangeSums:
        if isinstance(exchange, DirectExchange):
            if self._direct is not None and exchange is self._opened:
                found = self._direct.collect(exchange)
                if found is not None:
                    self._opened = None
                    return found
                exchange = self._hand_over(exchange)
            else:
                assert exchange.ordinary is not None, "it was handed over when another began"
                exchange = exchange.ordinary
        sums = self._collector.collect(exchange)
        if self._audits and self._auditor.is_due() and self._auditor.audit(exchange):
            sums = self._collector.collect(exchange)
        read_ns = max((one.read_ns for one in exchange.answered), default=waited_ns) + sums.decode_ns
        values = self._collector.fit_grids(exchange.rows, sums)
        return ExchangeSums(values, partial(exchange.records, sums), sums.decode_ns, read_ns)

    def _end(self, exchange: AnyExchange, found: ExchangeSums, waited_ns: int) -> None:
        self._open_exchanges = max(0, self._open_exchanges - 1)
        read_ns = max(found.read_ns, waited_ns)
        self.waited_ns += read_ns - waited_ns
        self._recorder.note(
            ExchangeRecord(
                exchange.layer,
                exchange.expert_ids,
                exchange.began_ns,
                exchange.started_ns,
                exchange.sent_ns,
                waited_ns,
                read_ns,
                time.perf_counter_ns(),
                found.decode_ns,
                found.calls,
                self.records,
            )
        )
