"""Gets every part of an exchange answered, by whomever it takes. Adds nothing up."""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.membership import Membership
from jangtq_coordinator.cluster.placement import Member
from jangtq_coordinator.dispatch.connection_pool import ConnectionPool, OpenConnection
from jangtq_coordinator.dispatch.exchange import Answered, Asked, Exchange, Failure
from jangtq_coordinator.dispatch.exchange_memory import AskedRows
from jangtq_coordinator.dispatch.failover import Failover
from jangtq_coordinator.dispatch.native_call import NativeCall
from jangtq_coordinator.dispatch.native_exchange import NativeExchanges
from jangtq_coordinator.dispatch.router import NOBODY, WorkerRows
from jangtq_coordinator.dispatch.routes import Routes
from jangtq_coordinator.metrics.worker_traffic import ClusterTraffic
from jangtq_coordinator.readiness import Readiness
from jangtq_coordinator.transport.connection import GiveUp
from jangtq_coordinator.transport.express_connection import ExpressConnection
from jangtq_proto.errors import ClusterError


@dataclass(frozen=True)
class Timeouts:
    """How long a call may take where nobody else can be asked, and how long experts may have no worker."""

    call_seconds: float = 60.0
    worker_seconds: float = 60.0


class Collector:
    """Used by the thread that dispatches."""

    def __init__(
        self,
        membership: Membership,
        open_connection: OpenConnection,
        timeouts: Timeouts,
        readiness: Readiness,
    ) -> None:
        self._membership = membership
        self._connections = ConnectionPool(open_connection)
        self._native = NativeExchanges(self._connections)
        self._failover = Failover(
            membership,
            readiness=readiness,
            worker_timeout_seconds=timeouts.worker_seconds,
            busy_seconds=timeouts.call_seconds,
        )
        self._routes = Routes(membership, timeouts.call_seconds)
        self.record_pace = self._routes.record
        self._retired = self._routes.placement
        self.traffic = ClusterTraffic()

    def keep_up(self, *, idle: bool) -> None:
        """Follow the placement; when idle, close the connections to whoever left it."""
        self._routes.keep_up()
        if idle and self._retired is not self._routes.placement:
            self._retired = self._routes.placement
            self._connections.retire(self._retired)

    def strike(self, member: Member, reason: str) -> None:
        """A member is proven to have answered wrong."""
        self._failover.strike(member, reason)

    def ask_natively(self, asked: AskedRows, *, others: int) -> NativeCall | None:
        """Ask every worker without further ado; None where nobody was asked, because `ask` has to do it.

        others: how many exchanges are under way besides.
        """
        return self._native.ask(asked, self._routes.router, self._routes.placement, others=others)

    def ask(self, exchange: Exchange, *, avoid: frozenset[str] = frozenset()) -> None:
        """Ask every worker of what an exchange wants; those to be avoided where there is nobody else."""
        if exchange.native is not None:
            if not exchange.native.is_sent:
                self._go_on(exchange, exchange.native)
            return
        whole = exchange.whole
        router = self._routes.router_around(avoid) if avoid else self._routes.router
        self._ask(exchange, router.split(whole.expert_ids, whole.router_weights))

    def abandon(self) -> None:
        """Give up every exchange under way, so that no connection keeps a half-done call."""
        self._native.abandon()
        self._connections.abandon()

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()

    def _ask(self, exchange: Exchange, parts: tuple[WorkerRows, ...]) -> None:
        self._native.make_way()
        for part in parts:
            if part.worker == NOBODY:
                exchange.unanswered.append(part)
                continue
            member = self._routes.placement.members[part.worker]
            try:
                connection = self._connections.connection(member)
                call_id = connection.send(exchange.call(part))
            except ClusterError as error:
                self._note(exchange, Failure(part, member, error))
            else:
                exchange.asked.append(Asked(part, member, connection, call_id, time.perf_counter_ns()))

    def collect_sums(self, exchange: Exchange, call: NativeCall) -> NDArray[np.float32] | None:
        """The sums of what native code asked, where all is ordinary; else `collect` has to be called."""
        return self._native.collect(call, partial(self._gives_up, exchange, call, time.monotonic()))

    def collect(self, exchange: Exchange) -> list[Answered]:
        """Every part's answer, of whomever it comes in the end. May wait; raises ClusterError."""
        if exchange.native is not None:
            self._go_on(exchange, exchange.native)
        self._native.make_way()
        answered = exchange.answered + self._receive(exchange)
        while exchange.unanswered:
            self._ask_others(exchange)
            answered += self._receive(exchange)
        self._failover.finish(exchange)
        return answered

    def _go_on(self, exchange: Exchange, call: NativeCall) -> None:
        """What native code began goes on over the connections, with the same ids."""
        whole = exchange.whole
        exchange.native = None
        found = self._native.hand_over(call)
        for part in call.ways.router.split(whole.expert_ids, whole.router_weights):
            member, told = call.ways.placement.members[part.worker], call.part(part.worker)
            if part.worker in found:
                exchange.answered.append(Answered(part, member, found[part.worker]))
                continue
            connection = call.connection(part.worker)
            try:
                if (failure := call.failure(part.worker)) is not None:
                    raise failure
                if isinstance(connection, ExpressConnection) and not told.is_sent:
                    connection.send_rest(
                        call.call_id,
                        exchange.call(part),
                        sent_bytes=told.sent_bytes,
                        error_number=told.sent_errno,
                    )
            except ClusterError as error:
                self._note(exchange, Failure(part, member, error))
            else:
                exchange.asked.append(Asked(part, member, connection, call.call_id, told.sent_ns))

    def _receive(self, exchange: Exchange) -> list[Answered]:
        asked, exchange.asked = exchange.asked, []
        answered = []
        for one in asked:
            started = time.monotonic()
            try:
                answer = one.connection.receive(one.call_id, self._giving_up(one.member, one.part, started))
            except ClusterError as error:
                self._note(exchange, Failure(one.part, one.member, error))
                continue
            self._routes.record(
                one.member,
                one.part.expert_ids.shape[0],
                waited_seconds=time.monotonic() - started,
                compute_ns=answer.compute_ns,
                cost=one.part.work(),
            )
            self.traffic.record(
                one.member.name,
                one.part.picks,
                wait_ns=time.perf_counter_ns() - one.sent_ns,
                worker_ns=answer.queue_ns + answer.compute_ns,
            )
            answered.append(Answered(one.part, one.member, answer))
        return answered

    def _gives_up(self, exchange: Exchange, call: NativeCall, started: float, position: int) -> bool:
        """The same of a member that native code asked, whose part nobody made yet."""
        whole = exchange.whole
        parts = call.ways.router.split(whole.expert_ids, whole.router_weights)
        part = next(part for part in parts if part.worker == position)
        return self._giving_up(call.ways.placement.members[position], part, started)()

    def _giving_up(self, member: Member, part: WorkerRows, started: float) -> GiveUp:
        """Whether to wait no longer, because the member is lost, or late and somebody else can be asked."""
        ids = part.expert_ids

        def give_up() -> bool:
            if self._membership.is_lost(member):
                return True
            if time.monotonic() < started + self._routes.deadline_seconds(member, ids.shape[0]):
                return False
            return self._membership.placement.can_spare(member.name, ids[ids >= 0].tolist())

        return give_up

    def _note(self, exchange: Exchange, failure: Failure) -> None:
        exchange.fail(failure)
        self._failover.judge(failure)

    def _ask_others(self, exchange: Exchange) -> None:
        """Ask for what is missing once more, of whoever holds it now. May wait; raises ClusterError."""
        self._failover.wait_for_workers(exchange)
        avoid = self._failover.to_avoid(exchange)
        router = self._routes.router_around(avoid)
        parts, exchange.unanswered = exchange.unanswered, []
        for part in parts:
            again = router.split(part.expert_ids, part.router_weights)
            self._count(part, exchange.failures, again)
            self._ask(exchange, tuple(piece.within(part.row_index) for piece in again))

    def _count(self, part: WorkerRows, failures: list[Failure], again: tuple[WorkerRows, ...]) -> None:
        members = self._routes.placement.members
        before = next((f.member.name for f in reversed(failures) if f.part is part), None)
        same = all(piece.worker != NOBODY and members[piece.worker].name == before for piece in again)
        if same:
            self._membership.counters.retries += 1
        else:
            self._membership.counters.failovers += 1
