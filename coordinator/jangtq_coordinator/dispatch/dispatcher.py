"""One layer's exchange: split the rows, ask every worker at once, add the partial sums on each row's grid.

What is not answered is asked of somebody else; only when nobody is left does an exchange wait, or fail.
"""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.counters import ClusterCounters
from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.dispatch.audit import Auditor
from jangtq_coordinator.dispatch.collector import Collector, Timeouts
from jangtq_coordinator.dispatch.connection_pool import OpenConnection
from jangtq_coordinator.dispatch.exchange import Answered, Exchange, add_up, ask_again, slowest_of, times_of
from jangtq_coordinator.dispatch.exchange_memory import AskedRows
from jangtq_coordinator.dispatch.grid import (
    expected_answer_factor,
    find_misfits,
    first_exponents,
    is_prefill,
    read_sums,
)
from jangtq_coordinator.dispatch.native_call import NativeCall
from jangtq_coordinator.dispatch.recorder import Books, ExchangeRecord, Recorder
from jangtq_coordinator.metrics.expert_load import ExpertLoad
from jangtq_coordinator.metrics.layer_times import LayerTimes
from jangtq_coordinator.metrics.timeline import Timeline
from jangtq_coordinator.metrics.worker_traffic import ClusterTraffic
from jangtq_coordinator.readiness import Readiness
from jangtq_proto.errors import WorkerFaultError
from jangtq_proto.wire.codec import LayerCall, Rows

MOST_ASKS: Final = 4
"""One is enough for nearly all rows, two for all while no worker changes its answers."""


class Dispatcher:
    """Used by one thread. Follows the placement of `membership`; `open_connection` makes the way to a member.

    `load` counts what is picked; `readiness` is asked while an exchange waits for a worker. `audit` is the
    share of exchanges that a second worker computes, too.
    scales: float64 [layers] as of `Bundle.layer_scales`, ones where not given. `records` is only ever
    false to measure what recording where time goes costs.
    """

    def __init__(
        self,
        membership: Membership,
        open_connection: OpenConnection,
        times: LayerTimes,
        *,
        scales: NDArray[np.float64] | None = None,
        load: ExpertLoad | None = None,
        timeouts: Timeouts | None = None,
        readiness: Readiness | None = None,
        audit: float = 0.0,
    ) -> None:
        self._membership = membership
        self._times = times
        self._scales: list[float] | None = None if scales is None else scales.tolist()
        self._load = load
        self.timeline = Timeline()
        self.records = True
        self._collector = Collector(
            membership, open_connection, timeouts or Timeouts(), readiness or Readiness()
        )
        self._auditor = Auditor(membership, self._collector, rate=audit)
        self._under_way = 0
        self.waited_ns = 0
        """Since the start, in which there was nothing to do but wait for workers."""
        self._ledger = Recorder(Books(times, self.timeline, self.traffic, load), self._collector.record_pace)

    @property
    def times(self) -> LayerTimes:
        return self._times

    @property
    def traffic(self) -> ClusterTraffic:
        return self._collector.traffic

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
        """Ask every worker of a picked expert; several exchanges may be under way.

        rows: [rows, hidden]; expert_ids, router_weights: [rows, slots]. `began_ns` is the stamp of
        time.perf_counter_ns at which the caller turned to this layer.
        """
        started_ns = time.perf_counter_ns()
        self._collector.keep_up(idle=not self._under_way)
        scale = 1.0 if self._scales is None else self._scales[layer]
        factor = expected_answer_factor(scale, rows.shape[1])
        asked = AskedRows(layer, rows, expert_ids, router_weights, is_prefill(expert_ids), factor)
        exchange = Exchange(began_ns or started_ns, started_ns)
        try:
            exchange.native = self._collector.ask_natively(asked, others=self._under_way)
            self._under_way += 1
            if exchange.native is None or not exchange.native.is_sent:
                self._ask(exchange, asked, scale)
            else:
                self._ledger.settle_many()
        except BaseException:
            self.abandon()
            raise
        exchange.sent_ns = time.perf_counter_ns()
        return exchange

    def finish(self, exchange: Exchange) -> NDArray[np.float32]:
        """Wait for its answers: the weighted sum of the picked experts of each row, float32 [rows, hidden].

        Raises ClusterError, and then no exchange is under way any more.
        """
        waited_ns = time.perf_counter_ns()
        native = exchange.native
        try:
            is_audited = self._auditor.is_due()
            sums = None if native is None or is_audited else self._collector.collect_sums(exchange, native)
            if sums is None:
                sums = self._collect(exchange, waited_ns, is_audited=is_audited)
            elif native is not None:
                self._note(exchange, native, waited_ns)
        except BaseException:
            self.abandon()
            raise
        self._under_way = max(0, self._under_way - 1)
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
        """Give up every exchange under way, so that no connection keeps a half-done call."""
        self._under_way = 0
        self._collector.abandon()

    def close(self) -> None:
        """Close every connection."""
        self._collector.close()

    def _ask(self, exchange: Exchange, asked: AskedRows, scale: float) -> None:
        """Worker by worker, whoever was not asked yet."""
        if exchange.native is None:
            layer, rows, expert_ids, router_weights, prefill, _ = asked
            exponents = first_exponents(rows, scale)
            exchange.given = LayerCall(layer, rows, expert_ids, router_weights, exponents, prefill)
        self._collector.ask(exchange)

    def _note(self, exchange: Exchange, native: NativeCall, waited_ns: int) -> None:
        """Positions and no names, since this is done for every layer."""
        self.waited_ns += native.read_ns - waited_ns
        asked = native.asked
        self._ledger.note(
            ExchangeRecord(
                native.ways.placement,
                asked.layer,
                asked.expert_ids,
                exchange.began_ns,
                exchange.started_ns,
                exchange.sent_ns,
                waited_ns,
                time.perf_counter_ns(),
                native.told,
                self.records,
            )
        )

    def _collect(self, exchange: Exchange, waited_ns: int, *, is_audited: bool) -> NDArray[np.float32]:
        """Answers one by one, whatever happens to them."""
        self._ledger.settle()
        if self._load is not None:
            # Counted while the workers are busy already.
            self._load.record(exchange.whole.layer, exchange.whole.expert_ids)
        answered = self._collector.collect(exchange)
        if is_audited:
            self._auditor.audit(exchange, answered)
        read_ns = time.perf_counter_ns()
        self.waited_ns += read_ns - waited_ns
        sums = self._settle(exchange.whole, answered)
        if self.records:
            times = times_of(exchange, slowest_of(answered), waited_ns=waited_ns, read_ns=read_ns)
            self._times.record(times)
            self.timeline.record_exchange(times)
        return sums

    def _settle(self, whole: LayerCall, answered: list[Answered], *, asks: int = 1) -> NDArray[np.float32]:
        """The sums, after rows whose grid did not suit their answers were asked for again."""
        units, finest = add_up(whole, answered)
        sums = read_sums(units, whole.exponents)
        if misfits := find_misfits(whole.exponents, finest):
            if asks == MOST_ASKS:
                raise WorkerFaultError(f"layer {whole.layer}: answers change whenever they are asked for")
            self._membership.counters.second_asks += len(misfits)
            again = ask_again(whole, misfits, finest)
            self._collector.ask(again)
            sums[misfits] = self._settle(again.whole, self._collector.collect(again), asks=asks + 1)
        return sums
