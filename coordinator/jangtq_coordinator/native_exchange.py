"""Ordinary exchanges without the interpreter: asked in one call of native code, collected in another.

Ordinary is an exchange of few float32 rows whose holders are all reached over express lanes that are open and
plain, or over open gRPC streams, and whose answers come soon, whole and in order. As soon as anything else
happens, every byte that was read is put back, and the lanes go on from there.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.exchange_library import BY_MESSAGE, Outcome, Part, exchange_library
from jangtq_coordinator.exchange_memory import MOST_ROWS, MOST_SLOTS, AskedRows, ExchangeMemory, Holders
from jangtq_coordinator.expert_stream import ExpertStream
from jangtq_coordinator.express_lane import ExpressLane
from jangtq_coordinator.grpc_lane import GrpcLane
from jangtq_coordinator.lane import GiveUp, Lane, LayerAnswer
from jangtq_coordinator.lane_book import LaneBook
from jangtq_coordinator.native_call import NativeCall
from jangtq_coordinator.plan import Member, Plan
from jangtq_coordinator.routing import Router
from jangtq_proto.errors import ClusterError
from jangtq_proto.frame_socket import FrameSocket
from jangtq_proto.frames import read_answer, split_answer

_PICKS, _ROWS = Part._fields.index("picks"), Part._fields.index("rows")
_UNDER_WAY: Final = 2
_PATIENCE_NS: Final = 50_000_000


class NativeExchanges:
    """Used by the thread that dispatches. Does nothing where the library is missing."""

    def __init__(self, lanes: LaneBook) -> None:
        self._book = lanes
        self._library = exchange_library()
        self._router: Router | None = None
        self._members: tuple[Member, ...] = ()
        self._lanes: list[Lane | None] = []
        self._ways: list[FrameSocket | ExpertStream | None] = []
        self._holders = Holders(0, np.empty(0, dtype=np.int32))
        self._free: list[ExchangeMemory] | None = None

    def ask(self, asked: AskedRows, router: Router, plan: Plan) -> NativeCall | None:
        """Ask every holder; None where nothing was sent, because the exchange is none of the ordinary."""
        if self._library is None or router.owners is None or not _is_ordinary(asked):
            return None
        if router is not self._router:
            self._follow(router, plan, router.owners)
        newest_id = self._look_at_lanes()
        if newest_id is None:
            return None
        memory = self._take_memory(asked.rows.shape[1])
        if memory is None:
            return None
        outcome = memory.ask(asked, newest_id + 1)
        if outcome == Outcome.NOT_SPLIT:
            self._give_back(memory)
            return None
        is_sent = outcome == Outcome.ORDINARY
        return self._begin(NativeCall(memory, router, plan, newest_id + 1, is_sent=is_sent), asked.rows.shape)

    def collect(self, call: NativeCall, give_up_on: Callable[[int], GiveUp]) -> NDArray[np.float32] | None:
        """The sums, float32 [rows, hidden]; None where the call has to be handed over.

        give_up_on: when to wait no longer for the member at a position, from now on; of streams only, since
        of sockets nobody waits for long.
        """
        if not call.can_be_read():
            return None
        if call.streams and not _take_messages(call, give_up_on):
            call.parts = call.memory.parts()
            return None
        outcome = call.memory.collect(call.call_id, patience_ns=_PATIENCE_NS)
        call.parts = call.memory.parts()
        if outcome != Outcome.ORDINARY:
            return None
        for lane, _ in call.lanes.values():
            lane.end_call(call.call_id)
        for control, _ in call.streams.values():
            control.end_call(call.call_id)
        call.summary = call.memory.summary()
        sums = call.memory.take_sums()
        self._give_back(call.memory)
        return sums

    def hand_over(self, call: NativeCall) -> dict[int, LayerAnswer]:
        """The answers that are whole, by position; what is there of others is put back for their lanes."""
        found = {}
        for position, (lane, frames) in call.lanes.items():
            part = call.part(position)
            data = call.memory.answer(position, part.read_bytes)
            if part.is_whole:
                lane.end_call(call.call_id)
                found[position] = _read(data, part)
            elif data:
                frames.put_back(data)
        for position, (control, _) in call.streams.items():
            part = call.part(position)
            if part.is_whole:
                control.end_call(call.call_id)
                found[position] = _read(call.memory.answer(position, part.read_bytes), part)
        self._give_back(call.memory)
        return found

    def abandon(self) -> None:
        """Forget everything under way."""
        self._router = None

    def _follow(self, router: Router, plan: Plan, owners: NDArray[np.int32]) -> None:
        self._router, self._members = router, plan.members
        self._lanes, self._ways = [None] * len(plan.members), [None] * len(plan.members)
        self._holders, self._free = Holders(len(plan.members), owners), None

    def _look_at_lanes(self) -> int | None:
        """Note which sockets there are; the newest id of a call over them, None where there is none."""
        newest_id = None
        for position, lane in enumerate(self._lanes):
            if lane is None:
                lane = self._lanes[position] = self._book.known(self._members[position])
            if isinstance(lane, ExpressLane | GrpcLane):
                way = lane.plain_frames if isinstance(lane, ExpressLane) else lane.plain_stream
                if way is not self._ways[position]:
                    self._ways[position] = way
                    self._holders.sockets[position] = _descriptor(way)
                if way is not None:
                    newest_id = max(newest_id or 0, lane.newest_call_id)
        return newest_id

    def _take_memory(self, hidden: int) -> ExchangeMemory | None:
        if self._free is None:
            assert self._library is not None
            self._free = [ExchangeMemory(self._library, self._holders, hidden) for _ in range(_UNDER_WAY)]
        return self._free.pop() if self._free else None

    def _give_back(self, memory: ExchangeMemory) -> None:
        if memory.holders is self._holders and self._free is not None:
            self._free.append(memory)

    def _begin(self, call: NativeCall, shape: tuple[int, ...]) -> NativeCall:
        """Note what was sent, while the holders are busy already."""
        rows, hidden = shape
        for position, numbers in enumerate(call.parts):
            if not numbers[_PICKS]:
                continue
            lane, way, shape = self._lanes[position], self._ways[position], (numbers[_ROWS], hidden)
            if isinstance(lane, GrpcLane) and isinstance(way, ExpertStream):
                call.streams[position] = lane, way
                _send(lane, call, position, shape)
                continue
            assert isinstance(lane, ExpressLane) and isinstance(way, FrameSocket), "it has a socket"
            call.lanes[position] = lane, way
            if call.is_sent or call.part(position).is_sent:
                lane.begin_call(call.call_id, shape)
        call.memory.prepare_sums(rows)
        return call


def _send(lane: GrpcLane, call: NativeCall, position: int, shape: tuple[int, int]) -> None:
    message = call.memory.message(position, call.part(position).frame_bytes)
    try:
        lane.send_message(call.call_id, message, shape)
    except ClusterError as error:
        call.fail(position, error)


def _take_messages(call: NativeCall, give_up_on: Callable[[int], GiveUp]) -> bool:
    """Whether every stream brought a proven answer."""
    for position, (lane, _) in call.streams.items():
        try:
            data = lane.receive_message(give_up_on(position))
        except ClusterError as error:
            call.fail(position, error)
            return False
        if not call.memory.take_message(position, call.call_id, data):
            lane.put_back(data)
            return False
    return True


def _descriptor(way: FrameSocket | ExpertStream | None) -> tuple[int, int]:
    """A JangtqHolder."""
    if isinstance(way, FrameSocket):
        return way.descriptor
    return (-1 if way is None else BY_MESSAGE, 0)


def _is_ordinary(asked: AskedRows) -> bool:
    rows, slots = asked.expert_ids.shape
    return rows <= MOST_ROWS and slots <= MOST_SLOTS and asked.rows.dtype == np.float32


def _read(data: bytes, part: Part) -> LayerAnswer:
    payload = read_answer(memoryview(data)).payload
    sums, finest = split_answer(payload, part.rows)
    return LayerAnswer(
        np.frombuffer(sums, np.int32).reshape(part.rows, -1),
        np.frombuffer(finest, np.int8),
        part.queue_ns,
        part.compute_ns,
        part.decode_ns,
    )
