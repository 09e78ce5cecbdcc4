"""One layer's exchange: split the rows, ask every holder at once, add the partial sums on each row's grid.

What is not answered is asked of somebody else; only when nobody is left does an exchange wait, or fail.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.counters import ClusterCounters
from jangtq_coordinator.exchange import Answered, Asked, Exchange, Failure, add_up, ask_again, times_of
from jangtq_coordinator.expert_load import ExpertLoad
from jangtq_coordinator.exponents import find_misfits, first_exponents, is_prefill, read_sums
from jangtq_coordinator.failover import Failover
from jangtq_coordinator.lane import LayerCall
from jangtq_coordinator.lane_book import LaneBook, OpenLane
from jangtq_coordinator.membership import Membership
from jangtq_coordinator.pause import Pause
from jangtq_coordinator.routes import Routes
from jangtq_coordinator.routing import NOBODY, HolderRows
from jangtq_coordinator.timeline import Timeline
from jangtq_coordinator.timing import LayerTimes
from jangtq_coordinator.traffic import Traffic
from jangtq_proto.codec import Rows
from jangtq_proto.errors import ClusterError, WorkerFaultError

MOST_ASKS: Final = 4
"""One is enough for nearly all rows, two for all while no worker changes its answers."""


@dataclass(frozen=True)
class Patience:
    """How long a call may take where nobody else can be asked, and how long experts may have no holder."""

    call_seconds: float = 60.0
    worker_seconds: float = 60.0


class Dispatcher:
    """Used by one thread. Follows the plan of `membership`; `open_lane` makes the way to a member.

    `load` counts what is picked; `pause` is asked while an exchange waits for a holder.
    scales: float64 [layers] as of `exponents.layer_scales`, ones where not given.
    """

    def __init__(
        self,
        membership: Membership,
        open_lane: OpenLane,
        times: LayerTimes,
        *,
        scales: NDArray[np.float64] | None = None,
        load: ExpertLoad | None = None,
        patience: Patience | None = None,
        pause: Pause | None = None,
    ) -> None:
        self._membership = membership
        self._lanes = LaneBook(open_lane)
        self._times = times
        self._scales: list[float] | None = None if scales is None else scales.tolist()
        self._load = load
        self.timeline = Timeline()
        self.traffic = Traffic()
        self._patience = patience or Patience()
        self._failover = Failover(
            membership,
            pause=pause or Pause(),
            worker_timeout_seconds=self._patience.worker_seconds,
            busy_seconds=self._patience.call_seconds,
        )
        self._routes = Routes(membership, self._patience.call_seconds)
        self._retired = self._routes.plan
        self._under_way = 0

    @property
    def times(self) -> LayerTimes:
        return self._times

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
        """Ask every holder of a picked expert; several exchanges may be under way.

        rows: [rows, hidden]; expert_ids, router_weights: [rows, slots]. `began_ns` is the stamp of
        time.perf_counter_ns at which the caller turned to this layer.
        """
        started_ns = time.perf_counter_ns()
        self._routes.keep_up()
        self._retire_lanes()
        exponents = first_exponents(rows, 1.0 if self._scales is None else self._scales[layer])
        whole = LayerCall(layer, rows, expert_ids, router_weights, exponents, is_prefill(expert_ids))
        exchange = Exchange(whole, began_ns or started_ns, started_ns)
        self._under_way += 1
        try:
            self._ask(exchange, self._routes.router.split(expert_ids, router_weights))
        except BaseException:
            self.abandon()
            raise
        exchange.sent_ns = time.perf_counter_ns()
        if self._load is not None:
            # Counted while the workers are busy already.
            self._load.record(layer, expert_ids)
        return exchange

    def finish(self, exchange: Exchange) -> NDArray[np.float32]:
        """Wait for its answers: the weighted sum of the picked experts of each row, float32 [rows, hidden].

        Raises ClusterError, and then no exchange is under way any more.
        """
        waited_ns = time.perf_counter_ns()
        try:
            answered = self._collect(exchange)
            read_ns = time.perf_counter_ns()
            sums = self._settle(exchange.whole, answered)
        except BaseException:
            self.abandon()
            raise
        self._under_way = max(0, self._under_way - 1)
        times = times_of(exchange, answered, waited_ns=waited_ns, read_ns=read_ns)
        self._times.record(times)
        self.timeline.record_exchange(times)
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
        self._under_way = 0
        self._lanes.abandon()

    def close(self) -> None:
        """Close every lane."""
        self._lanes.close()

    def _retire_lanes(self) -> None:
        """Close the lanes to whoever left the plan, once nothing more can come over them."""
        if self._retired is not self._routes.plan and not self._under_way:
            self._retired = self._routes.plan
            self._lanes.retire(self._retired)

    def _ask(self, exchange: Exchange, parts: tuple[HolderRows, ...]) -> None:
        for part in parts:
            if part.holder == NOBODY:
                exchange.unanswered.append(part)
                continue
            member = self._routes.plan.members[part.holder]
            try:
                lane = self._lanes.lane(member)
                call_id = lane.send(exchange.call(part))
            except ClusterError as error:
                self._note(exchange, Failure(part, member, error))
            else:
                exchange.asked.append(Asked(part, member, lane, call_id, time.perf_counter_ns()))

    def _collect(self, exchange: Exchange) -> list[Answered]:
        """Every part's answer, of whomever it comes in the end."""
        answered = self._receive(exchange)
        while exchange.unanswered:
            self._ask_others(exchange)
            answered += self._receive(exchange)
        self._failover.finish(exchange)
        return answered

    def _settle(self, whole: LayerCall, answered: list[Answered], *, asks: int = 1) -> NDArray[np.float32]:
        """The sums, after rows whose grid did not suit their answers were asked for again."""
        units, finest = add_up(whole, answered)
        sums = read_sums(units, whole.exponents)
        if misfits := find_misfits(whole.exponents, finest):
            if asks == MOST_ASKS:
                raise WorkerFaultError(f"layer {whole.layer}: answers change whenever they are asked for")
            self._membership.counters.second_asks += len(misfits)
            again = ask_again(whole, misfits, finest)
            self._ask(again, self._routes.router.split(again.whole.expert_ids, again.whole.router_weights))
            sums[misfits] = self._settle(again.whole, self._collect(again), asks=asks + 1)
        return sums

    def _receive(self, exchange: Exchange) -> list[Answered]:
        asked, exchange.asked = exchange.asked, []
        answered = []
        for one in asked:
            started = time.monotonic()
            try:
                answer = one.lane.receive(one.call_id, self._giving_up(one, started))
            except ClusterError as error:
                self._note(exchange, Failure(one.part, one.member, error))
                continue
            self._routes.record(one, answer, time.monotonic() - started)
            self.traffic.record(
                one.member.name,
                one.part.expert_ids,
                wait_ns=time.perf_counter_ns() - one.sent_ns,
                holder_ns=answer.queue_ns + answer.compute_ns,
            )
            answered.append(Answered(one.part, one.member, answer))
        return answered

    def _giving_up(self, asked: Asked, started: float) -> Callable[[], bool]:
        """Whether to wait no longer, because the member is lost, or late and somebody else can be asked."""
        member, ids = asked.member, asked.part.expert_ids
        deadline = started + self._routes.deadline_seconds(member, ids.shape[0])

        def give_up() -> bool:
            if self._membership.is_lost(member):
                return True
            if time.monotonic() < deadline:
                return False
            return self._membership.plan.can_spare(member.name, ids[ids >= 0].tolist())

        return give_up

    def _note(self, exchange: Exchange, failure: Failure) -> None:
        exchange.fail(failure)
        self._failover.judge(failure)

    def _ask_others(self, exchange: Exchange) -> None:
        """Ask for what is missing once more, of whoever holds it now. May wait; raises ClusterError."""
        self._failover.wait_for_holders(exchange)
        avoid = self._failover.to_avoid(exchange)
        router = self._routes.router_around(avoid)
        parts, exchange.unanswered = exchange.unanswered, []
        for part in parts:
            again = router.split(part.expert_ids, part.router_weights)
            self._count(part, exchange.failures, again)
            self._ask(exchange, tuple(piece.within(part.row_index) for piece in again))

    def _count(self, part: HolderRows, failures: list[Failure], again: tuple[HolderRows, ...]) -> None:
        members = self._routes.plan.members
        before = next((f.member.name for f in reversed(failures) if f.part is part), None)
        same = all(piece.holder != NOBODY and members[piece.holder].name == before for piece in again)
        if same:
            self._membership.counters.retries += 1
        else:
            self._membership.counters.failovers += 1
