"""Ordinary exchanges without the interpreter: asked in one call of native code, collected in another.

Ordinary is an exchange of few rows of the wire type over express connections that are open and plain, or
over open gRPC streams, whose answers come soon, whole and in order. As soon as anything else happens, every
byte that was read is put back, and the connections go on from there.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.cluster.placement import Placement
from jangtq_coordinator.dispatch.connection_pool import ConnectionPool
from jangtq_coordinator.dispatch.exchange_library import BY_MESSAGE, Outcome, PartStruct, exchange_library
from jangtq_coordinator.dispatch.exchange_memory import (
    MOST_ROWS,
    MOST_SLOTS,
    AskedRows,
    AskedWorkers,
    ExchangeMemory,
)
from jangtq_coordinator.dispatch.native_call import NativeCall, Ways
from jangtq_coordinator.dispatch.router import Router
from jangtq_coordinator.transport.connection import LayerAnswer
from jangtq_coordinator.transport.express_connection import ExpressConnection
from jangtq_coordinator.transport.grpc_connection import GrpcConnection
from jangtq_coordinator.transport.grpc_stream import ExpertStream, StreamBrokenError
from jangtq_proto.sockets.frame_socket import FrameSocket
from jangtq_proto.wire.codec import row_dtype
from jangtq_proto.wire.frames import read_answer, split_answer
from jangtq_proto.wire.row_type import RowType

_UNDER_WAY: Final = 2
_PATIENCE_NS: Final = 50_000_000


class NativeExchanges:
    """Used by the thread that dispatches. Does nothing where the library is missing.

    Whoever uses connections otherwise calls `make_way` before; until then connections know of no native call.
    """

    def __init__(self, connections: ConnectionPool) -> None:
        self._book = connections
        self._library = exchange_library()
        self._ways: Ways | None = None
        self._is_stale = True
        self._newest_id = 0
        self._untold: deque[NativeCall] = deque()
        self._workers = AskedWorkers(0, np.empty(0, dtype=np.int32))
        self._free: list[ExchangeMemory] | None = None

    def ask(
        self, asked: AskedRows, router: Router, placement: Placement, *, others: int
    ) -> NativeCall | None:
        """Ask every worker; None where nothing was sent, because the exchange is none of the ordinary.

        others: how many exchanges are under way besides.
        """
        if self._library is None or router.owners is None or not _is_short(asked):
            return None
        ways = self._follow(router, placement, router.owners)
        if asked.rows.dtype != row_dtype(ways.row_type) or not (ways.sockets or ways.streams):
            return None
        memory = self._take_memory(asked.rows.shape[1], ways.row_type)
        if memory is None:
            return None
        outcome = memory.ask(asked, self._newest_id + 1)
        if outcome == Outcome.NOT_SPLIT:
            self._give_back(memory)
            return None
        self._newest_id += 1
        call = NativeCall(asked, memory, ways, self._newest_id, is_sent=outcome == Outcome.ORDINARY)
        if ways.streams:
            _send_messages(call)
        self._untold.append(call)
        if others >= len(self._untold):
            # Connections have calls under way that are not native, and have to keep the order of all.
            self.make_way()
        return call

    def collect(self, call: NativeCall, gives_up: Callable[[int], bool]) -> NDArray[np.float32] | None:
        """The sums, float32 [rows, hidden]; None where the call has to be handed over.

        gives_up: whether to wait no longer for the member at a position; of streams only, since of sockets
        nobody waits for long.
        """
        if not self._is_next(call) or (call.ways.streams and not _take_messages(call, gives_up)):
            return None
        sums = call.memory.collect(call.call_id, patience_ns=_PATIENCE_NS)
        if sums is None:
            return None
        if call.is_told:
            call.end()
        else:
            self._untold.popleft()
        call.told, call.read_ns = call.memory.told(), call.memory.read_ns()
        self._give_back(call.memory)
        return sums

    def hand_over(self, call: NativeCall) -> dict[int, LayerAnswer]:
        """The answers of sockets that are whole, by position; all else that was read is put back."""
        self.make_way()
        found = {}
        for position, connection, frames in call.ways.sockets:
            part = call.part(position)
            if not part.picks:
                continue
            data = call.memory.answer(position, part.read_bytes)
            if part.is_whole:
                connection.end_call(call.call_id)
                found[position] = _read(data, part)
            elif data:
                frames.put_back(data)
        for position, control, _ in call.ways.streams:
            if position in call.replies:
                control.put_back(call.replies[position])
        self._give_back(call.memory)
        return found

    def make_way(self) -> None:
        """Others will use the connections: these learn what is active, and are looked at anew afterwards."""
        self._is_stale = True
        for call in self._untold:
            call.tell_connections()
        self._untold.clear()
        self._tell_newest_id()

    def abandon(self) -> None:
        """Forget everything under way."""
        self._tell_newest_id()
        self._untold.clear()
        self._ways = None

    def _tell_newest_id(self) -> None:
        for _, connection, _ in self._ways.all() if self._ways else ():
            connection.skip_to(self._newest_id)

    def _is_next(self, call: NativeCall) -> bool:
        """Whether the next bytes of every connection are those of its answers."""
        if call.is_told:
            return call.can_be_read()
        return not self._is_stale and call.ways is self._ways and self._untold[0] is call

    def _follow(self, router: Router, placement: Placement, owners: NDArray[np.int32]) -> Ways:
        """The ways of now; where nothing happened since the last exchange, those of then."""
        ways = self._ways
        if ways is None or router is not ways.router:
            self._workers, self._free = AskedWorkers(len(placement.members), owners), None
        elif not self._is_stale and not any(connection.is_outdated for connection in ways.secured):
            return ways
        self._ways = ways = self._look_at_connections(Ways(router, placement))
        self._is_stale = False
        return ways

    def _look_at_connections(self, ways: Ways) -> Ways:
        sockets: list[tuple[int, ExpressConnection, FrameSocket]] = []
        streams: list[tuple[int, GrpcConnection, ExpertStream]] = []
        connections = self._known_connections(ways.placement)
        row_type = connections[0][1].row_type if connections else RowType.FLOAT32
        self._workers.sockets[:, 0] = -1
        for position, connection in connections:
            self._newest_id = max(self._newest_id, connection.newest_call_id)
            if connection.row_type is not row_type:
                continue
            if isinstance(connection, ExpressConnection) and connection.plain_frames is not None:
                sockets.append((position, connection, connection.plain_frames))
                self._workers.sockets[position] = connection.plain_frames.descriptor
            elif isinstance(connection, GrpcConnection) and connection.plain_stream is not None:
                streams.append((position, connection, connection.plain_stream))
                self._workers.sockets[position] = BY_MESSAGE, 0
        secured = tuple(connection for _, connection, _ in streams if connection.is_secured)
        return Ways(ways.router, ways.placement, row_type, tuple(sockets), tuple(streams), secured)

    def _known_connections(
        self, placement: Placement
    ) -> list[tuple[int, ExpressConnection | GrpcConnection]]:
        connections = (
            (position, self._book.known(member)) for position, member in enumerate(placement.members)
        )
        return [
            (position, connection)
            for position, connection in connections
            if isinstance(connection, ExpressConnection | GrpcConnection)
        ]

    def _take_memory(self, hidden: int, row_type: RowType) -> ExchangeMemory | None:
        if self._free is None:
            assert self._library is not None
            memory = self._library, self._workers, hidden, row_type
            self._free = [ExchangeMemory(*memory) for _ in range(_UNDER_WAY)]
        return self._free.pop() if self._free else None

    def _give_back(self, memory: ExchangeMemory) -> None:
        if memory.workers is self._workers and self._free is not None:
            self._free.append(memory)


def _send_messages(call: NativeCall) -> None:
    for position, connection, stream in call.ways.streams:
        if call.memory.picks(position):
            try:
                stream.send(call.memory.message(position))
            except StreamBrokenError as error:
                call.fail(position, connection.break_off(error))


def _take_messages(call: NativeCall, gives_up: Callable[[int], bool]) -> bool:
    """Whether every stream brought a proven answer."""
    for position, connection, stream in call.ways.streams:
        if not call.memory.picks(position):
            continue
        try:
            data = stream.receive(partial(gives_up, position))
        except StreamBrokenError as error:
            call.fail(position, connection.break_off(error))
            return False
        call.replies[position] = data
        if not call.memory.take_message(position, call.call_id, data):
            return False
    return True


def _is_short(asked: AskedRows) -> bool:
    rows, slots = asked.expert_ids.shape
    return bool(rows <= MOST_ROWS and slots <= MOST_SLOTS)


def _read(data: bytes, part: PartStruct) -> LayerAnswer:
    payload = read_answer(memoryview(data)).payload
    sums, finest = split_answer(payload, part.rows)
    return LayerAnswer(
        np.frombuffer(sums, np.int32).reshape(part.rows, -1),
        np.frombuffer(finest, np.int8),
        part.queue_ns,
        part.compute_ns,
        part.decode_ns,
    )
