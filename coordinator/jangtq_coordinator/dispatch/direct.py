"""An exchange of few rows in two native calls. What is not ordinary about it is left to the Collector.

Native code sends to and receives from plain sockets itself; over other connections Python carries the frames.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.placement import Member
from jangtq_coordinator.dispatch.codec import NOBODY, LayerRows, Part
from jangtq_coordinator.dispatch.connection_pool import ConnectionPool
from jangtq_coordinator.dispatch.exchange import Answered, Asked, Exchange, ExchangeSums, Failure
from jangtq_coordinator.dispatch.native_structures import PartReply
from jangtq_coordinator.dispatch.native_turn import TAKEN, WAITS, NativeTurn, Share, shares_of
from jangtq_coordinator.dispatch.routes import Routes
from jangtq_coordinator.metrics.recorder import CallRecord
from jangtq_coordinator.transport.connection import Connection, DirectConnection
from jangtq_proto.errors import ClusterError
from jangtq_proto.sockets.inbox import Inbox
from jangtq_proto.wire.codec import Rows

MOST_ROWS: Final = 64
"""Workers compute more rows for longer than Python takes to carry them."""
_LONGEST_WAIT_NS: Final = 250_000_000
"""The Collector gives no worker up sooner."""
GivesUp = Callable[[Member, Part, float], bool]


@dataclass(slots=True)
class CarriedCall:
    """A call whose frame Python sends; `frame` is its answer once it is there. position: among all calls."""

    position: int
    connection: Connection | None = None
    sent_ns: int = 0
    frame: bytes | None = None
    read_ns: int = 0
    error: ClusterError | None = None


@dataclass(slots=True)
class DirectExchange:
    """What was asked, of the workers at these positions. `ordinary` replaces it once it was handed over."""

    layer: int
    rows: Rows
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]
    call_id: int
    members: tuple[Member, ...]
    inboxes: list[Inbox | None]
    began_ns: int
    started_ns: int
    sent_ns: int = 0
    carried: dict[int, CarriedCall] = field(default_factory=dict)
    ordinary: Exchange | None = None


class DirectExchanges:
    """At most one is open. Used by the thread that dispatches.

    gives_up: whether to stop waiting for a part's worker, asked since a time.monotonic.
    """

    def __init__(
        self,
        turn: NativeTurn,
        routes: Routes,
        connections: ConnectionPool,
        call_ids: Iterator[int],
        *,
        gives_up: GivesUp,
    ) -> None:
        self._turn = turn
        self._routes = routes
        self._connections = connections
        self._call_ids = call_ids
        self._gives_up = gives_up

    def ask(
        self,
        layer: int,
        rows: Rows,
        *,
        expert_ids: NDArray[np.int32],
        router_weights: NDArray[np.float32],
        factor: float,
        began_ns: int,
        started_ns: int,
    ) -> DirectExchange:
        """Send a layer's calls. Arguments as of Dispatcher.begin; there are at most MOST_ROWS rows."""
        members = self._routes.placement.members
        opened = list(map(self._connections.opened, members))
        inboxes = [inbox for _, inbox in opened]
        call_id = next(self._call_ids)
        turn = self._turn
        turn.ask(
            layer,
            rows,
            expert_ids=expert_ids,
            router_weights=router_weights,
            factor=factor,
            owners=self._routes.router.owners(expert_ids),
            inboxes=inboxes,
            call_id=call_id,
        )
        sent_ns = time.perf_counter_ns()
        exchange = DirectExchange(
            layer, rows, expert_ids, router_weights, call_id, members, inboxes, began_ns, started_ns, sent_ns
        )
        if turn.facts.carried:
            self._send(exchange, [connection for connection, _ in opened])
        return exchange

    def collect(self, exchange: DirectExchange) -> ExchangeSums | None:
        """The sums, or None if the exchange is not ordinary: then it has to be handed over. May wait."""
        turn, facts = self._turn, self._turn.facts
        if not facts.is_whole or (facts.carried and not self._receive(exchange)):
            return None
        status = turn.take()
        if status == WAITS:
            status = self._take_late()
        if status != TAKEN:
            return None
        read_ns = facts.received_ns
        for call in exchange.carried.values():
            read_ns = max(read_ns, call.read_ns)
        kept = turn.part_bytes(), turn.reply_bytes()
        calls = partial(_records, exchange.members, exchange.sent_ns, exchange.carried, *kept)
        return ExchangeSums(turn.sums(), calls, facts.proof_ns, read_ns + facts.proof_ns)

    def hand_over(self, opened: DirectExchange) -> tuple[Exchange, list[Failure]]:
        """The exchange as the Collector knows one, and the failures that it has to judge."""
        asked = self._asked(opened)
        exchange = Exchange(asked, opened.began_ns, opened.started_ns, opened.sent_ns)
        failures = []
        for share in self._turn.shares():
            part = self._turn.part(asked, share, opened.call_id)
            if share.worker == NOBODY:
                exchange.unanswered.append(part)
                continue
            try:
                self._hand_over(exchange, part, share, opened)
            except ClusterError as error:
                failures.append(Failure(part, opened.members[share.worker], error))
        opened.ordinary = exchange
        return exchange, failures

    def _send(self, exchange: DirectExchange, opened: Sequence[Connection | None]) -> None:
        """Send what native code did not."""
        for position, worker, frame in self._turn.frames(exchange.inboxes):
            call = exchange.carried[worker] = CarriedCall(position, opened[worker])
            try:
                if call.connection is None:
                    call.connection = self._connections.connection(exchange.members[worker])
                call.connection.send(exchange.call_id, frame)
            except ClusterError as error:
                call.error = error
            call.sent_ns = time.perf_counter_ns()

    def _receive(self, exchange: DirectExchange) -> bool:
        """Receive what native code does not; False where something failed."""
        for worker, call in exchange.carried.items():
            if call.error is not None or call.connection is None:
                return False
            give_up = partial(self._gives_up_call, exchange, worker, time.monotonic())
            try:
                call.frame = call.connection.receive(exchange.call_id, give_up)
            except ClusterError as error:
                call.error = error
                return False
            call.read_ns = time.perf_counter_ns()
            self._turn.give(call.position, call.frame)
        return True

    def _take_late(self) -> int:
        end_ns = time.perf_counter_ns() + _LONGEST_WAIT_NS
        status = WAITS
        while status == WAITS and time.perf_counter_ns() < end_ns:
            status = self._turn.take()
        return status

    def _asked(self, opened: DirectExchange) -> LayerRows:
        exponents = self._turn.exponents()
        return LayerRows(
            opened.layer, opened.rows, opened.expert_ids, opened.router_weights, exponents, prefill=False
        )

    def _gives_up_call(self, exchange: DirectExchange, worker: int, started: float) -> bool:
        (share,) = (share for share in self._turn.shares() if share.worker == worker)
        part = self._turn.part(self._asked(exchange), share, exchange.call_id)
        return self._gives_up(exchange.members[worker], part, started)

    def _hand_over(self, exchange: Exchange, part: Part, share: Share, opened: DirectExchange) -> None:
        """Raises ClusterError if the part has no answer and none can come."""
        member, call = opened.members[share.worker], opened.carried.get(share.worker)
        if call is None:
            connection = self._connections.connection(member)
            assert isinstance(connection, DirectConnection), "it has an inbox"
            connection.resume(part.call_id, part.frame, share.sent_bytes)
            exchange.asked.append(Asked(part, member, connection, opened.sent_ns))
        elif call.error is not None:
            raise call.error
        elif call.frame is not None:
            exchange.answered.append(Answered(part, member, call.frame, call.sent_ns, call.read_ns))
        else:
            assert call.connection is not None, "it was sent"
            exchange.asked.append(Asked(part, member, call.connection, call.sent_ns))


def _records(
    members: Sequence[Member], sent_ns: int, carried: Mapping[int, CarriedCall], parts: bytes, replies: bytes
) -> tuple[CallRecord, ...]:
    """The records of an exchange whose parts and replies are these of NativeTurn."""
    records = []
    for share, (queue_ns, compute_ns, received_ns) in zip(
        shares_of(parts), PartReply.times_of(replies), strict=False
    ):
        call = carried.get(share.worker)
        stamps = (sent_ns, received_ns) if call is None else (call.sent_ns, call.read_ns)
        name = members[share.worker].name
        sizes = share.row_count, share.picks, share.distinct
        records.append(CallRecord(name, *sizes, *stamps, queue_ns, compute_ns))
    return tuple(records)
