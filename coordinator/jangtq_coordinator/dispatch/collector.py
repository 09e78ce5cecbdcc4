"""Sends the parts of an exchange and collects their answers, from other workers if needed."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.placement import Member
from jangtq_coordinator.dispatch.codec import NOBODY, Codec, LayerRows, Part, Sums
from jangtq_coordinator.dispatch.connection_pool import ConnectionPool
from jangtq_coordinator.dispatch.exchange import Answered, Asked, Exchange, Failure
from jangtq_coordinator.dispatch.failover import Failover
from jangtq_coordinator.dispatch.router import Router
from jangtq_coordinator.dispatch.routes import Routes
from jangtq_coordinator.metrics.recorder import Recorder
from jangtq_coordinator.readiness import Readiness
from jangtq_proto.errors import ClusterError, WorkerFaultError

MOST_ASKS: Final = 4
"""One is enough for nearly all rows, and two for all, unless a worker changes its answers."""


@dataclass(frozen=True)
class Timeouts:
    """How long a call may take if no other worker has its experts; how long experts may have no worker."""

    call_seconds: float = 60.0
    worker_seconds: float = 60.0


class Collector:
    """Used by the thread that dispatches."""

    def __init__(
        self,
        membership: Membership,
        connections: ConnectionPool,
        call_ids: Iterator[int],
        codec: Codec,
        routes: Routes,
        recorder: Recorder,
        *,
        timeouts: Timeouts,
        readiness: Readiness,
    ) -> None:
        self._membership = membership
        self._connections = connections
        self._call_ids = call_ids
        self._codec = codec
        self._failover = Failover(
            membership,
            readiness=readiness,
            worker_timeout_seconds=timeouts.worker_seconds,
            busy_seconds=timeouts.call_seconds,
        )
        self._routes = routes
        self._recorder = recorder
        self._retired = routes.placement

    def keep_up(self, *, idle: bool) -> None:
        """Follow the placement; when idle, close the connections to members that left it."""
        self._routes.keep_up()
        if idle and self._retired is not self._routes.placement:
            self._retired = self._routes.placement
            self._connections.retire(self._retired)

    def strike(self, member: Member, reason: str) -> None:
        """Count a wrong answer that was proven."""
        self._failover.strike(member, reason)

    def ask(self, exchange: Exchange, *, avoid: frozenset[str] = frozenset()) -> None:
        """Send every part of an exchange; members in `avoid` get only experts that no other holds."""
        router = self._routes.router_around(avoid) if avoid else self._routes.router
        self._ask(exchange, exchange.rows, router)

    def abandon(self) -> None:
        """Abandon all open exchanges, so that no connection keeps an unfinished call."""
        self._connections.abandon()

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()

    def collect(self, exchange: Exchange) -> Sums:
        """The sums of all parts, from whichever workers answer in the end. May wait; raises ClusterError."""
        while True:
            self._receive(exchange)
            if not exchange.unanswered:
                sums = self._codec.add(exchange.rows, exchange.replies())
                if not sums.faults:
                    break
                self._drop(exchange, sums.faults)
            self._ask_others(exchange)
        if exchange.failures:
            self._failover.finish(exchange)
        return sums

    def fit_grids(self, asked: LayerRows, sums: Sums, *, asks: int = 1) -> NDArray[np.float32]:
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
        self.ask(again)
        found = self.collect(again)
        sums.values[unfit] = self.fit_grids(again.rows, found, asks=asks + 1)
        return sums.values

    def _ask(self, exchange: Exchange, rows: LayerRows, router: Router) -> tuple[Part, ...]:
        """Encode and send these experts of the exchange's rows."""
        members = self._routes.placement.members
        parts = self._codec.encode(rows, router.owners(rows.expert_ids), next(self._call_ids))
        for part in parts:
            if part.worker == NOBODY:
                exchange.unanswered.append(part)
                continue
            member = members[part.worker]
            try:
                connection = self._connections.connection(member)
                connection.send(part.call_id, part.frame)
            except ClusterError as error:
                self.judge(exchange, Failure(part, member, error))
            else:
                exchange.asked.append(Asked(part, member, connection, time.perf_counter_ns()))
        return tuple(parts)

    def _receive(self, exchange: Exchange) -> None:
        asked, exchange.asked = exchange.asked, []
        for part, member, connection, sent_ns in asked:
            give_up = partial(self.gives_up, member, part, time.monotonic())
            try:
                frame = connection.receive(part.call_id, give_up)
            except ClusterError as error:
                self.judge(exchange, Failure(part, member, error))
            else:
                exchange.answered.append(Answered(part, member, frame, sent_ns, time.perf_counter_ns()))

    def gives_up(self, member: Member, part: Part, started: float) -> bool:
        """Whether to stop waiting: the member is lost, or it is late and another worker has its experts."""
        if self._membership.is_lost(member):
            return True
        self._recorder.flush()
        if time.monotonic() < started + self._routes.deadline_seconds(member, part.row_count):
            return False
        return self._membership.placement.can_spare(member.name, sorted(part.own_experts()))

    def _drop(self, exchange: Exchange, faults: dict[int, ClusterError]) -> None:
        """Move the invalid answers at these positions back to the unanswered parts."""
        for position, error in sorted(faults.items(), reverse=True):
            wrong = exchange.answered.pop(position)
            named = type(error)(f"worker {wrong.member.name}: {error}")
            self.judge(exchange, Failure(wrong.part, wrong.member, named))

    def judge(self, exchange: Exchange, failure: Failure) -> None:
        """Record a failure, and what it says of the member."""
        exchange.fail(failure)
        self._failover.judge(failure)

    def _ask_others(self, exchange: Exchange) -> None:
        """Send the missing parts to workers that hold them now. May wait; raises ClusterError."""
        self._failover.wait_for_workers(exchange)
        avoid = self._failover.to_avoid(exchange)
        router = self._routes.router_around(avoid)
        missing, exchange.unanswered = exchange.unanswered, []
        for part in missing:
            again = self._ask(exchange, exchange.rows._replace(expert_ids=part.own_ids()), router)
            self._count(part, exchange.failures, again)

    def _count(self, part: Part, failures: list[Failure], again: tuple[Part, ...]) -> None:
        members = self._routes.placement.members
        before = next((f.member.name for f in reversed(failures) if f.part is part), None)
        same = all(piece.worker != NOBODY and members[piece.worker].name == before for piece in again)
        if same:
            self._membership.counters.retries += 1
        else:
            self._membership.counters.failovers += 1
