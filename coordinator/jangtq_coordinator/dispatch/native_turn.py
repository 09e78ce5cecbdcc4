"""The two native calls of an exchange, native/exchange/direct.h, with their memory. Knows no workers."""

import ctypes
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.codec import NOBODY, LayerRows, Part
from jangtq_coordinator.dispatch.native_structures import (
    FRAME_AT,
    GRIDS,
    PART_FIELDS,
    CallRows,
    EncodedPart,
    Grids,
    Memory,
    PartReply,
    TurnFacts,
)
from jangtq_kernels.cpu_library import native_library
from jangtq_kernels.native_layout import check_layout
from jangtq_proto.sockets.inbox import Inbox, InboxState
from jangtq_proto.wire.codec import Rows, row_dtype, wire_row_type
from jangtq_proto.wire.row_type import RowType

_FIRST_BYTES: Final = 1 << 16
TAKEN: Final = 0
"""JANGTQ_TAKEN."""
WAITS: Final = 1
"""JANGTQ_WAITS."""


class Share(NamedTuple):
    """What one worker, or NOBODY, is asked for; native code sent so many bytes of its frame."""

    worker: int
    row_count: int
    picks: int
    distinct: int
    index_at: int
    frame_at: int
    frame_bytes: int
    sent_bytes: int


class NativeTurn:
    """One exchange at a time: `ask`, then `take` until it does not wait. For one thread.

    Raises BackendMissingError where no library was compiled.
    """

    def __init__(self, row_type: RowType) -> None:
        functions = native_library().functions
        check_layout(functions, Grids, CallRows, EncodedPart, PartReply, InboxState, TurnFacts)
        self._dtype = row_dtype(row_type)
        address, number = ctypes.c_void_p, ctypes.c_int64
        self._ask = functions.jangtq_ask
        self._ask.restype = number
        self._ask.argtypes = [address, ctypes.c_double, *[address] * 6, number, address]
        self._take = functions.jangtq_take
        self._take.restype = number
        self._take.argtypes = [address] * 9
        self._grids = ctypes.addressof(GRIDS)
        self._asked = CallRows(row_type=int(wire_row_type(row_type)))
        self.facts = TurnFacts()
        self._exponents, self._finest = Memory(_FIRST_BYTES), Memory(_FIRST_BYTES)
        self._frames, self._values, self._index = (Memory(_FIRST_BYTES) for _ in range(3))
        self._shape = (0, 0)
        self._owners: NDArray[np.int32] | None = None
        self._worker_count = -1

    def ask(
        self,
        layer: int,
        rows: Rows,
        *,
        expert_ids: NDArray[np.int32],
        router_weights: NDArray[np.float32],
        factor: float,
        owners: NDArray[np.int32],
        inboxes: Sequence[Inbox | None],
        call_id: int,
    ) -> None:
        """Choose grids, encode, and send to each worker with an inbox; `facts` says how far that went.

        Arguments as of Codec, of a call that is no prefill; inboxes: one a worker. Raises IndexError for an
        expert beyond the owners.
        """
        if owners is not self._owners:
            self._use(owners)
        asked = self._asked
        asked.rows = (rows if rows.dtype == self._dtype else rows.astype(self._dtype)).tobytes()
        asked.expert_ids, asked.router_weights = expert_ids.tobytes(), router_weights.tobytes()
        asked.slot_count, asked.layer, asked.call_id = expert_ids.shape[1], layer, call_id
        if rows.shape != self._shape:
            self._fit(*rows.shape)
        for position in range(self._worker_count):
            inbox = inboxes[position]
            self._inboxes[position] = None if inbox is None else inbox.address
        size = self._ask(*self._asking(factor))
        if size > self._frames.size:
            self._frames = Memory(2 * size)
            size = self._ask(*self._asking(factor))
        if size < 0:
            raise IndexError(f"expert ids are below {len(owners)}: {expert_ids.max()}")

    def take(self) -> int:
        """Receive and add the answers: TAKEN, WAITS, or another number where that must be done by others.

        May wait as long as the sockets' time-outs allow.
        """
        status: int = self._take(*self._taking)
        return status

    def sums(self) -> NDArray[np.float32]:
        """float32 [rows, hidden] after TAKEN."""
        row_count, hidden = self._shape
        return self._values.copy(row_count * hidden * 4, np.float32).reshape(self._shape)

    def give(self, position: int, frame: bytes) -> None:
        """Add the answer to the share at this position of `shares`, which Python received."""
        reply = self._replies[position]
        reply.frame, reply.frame_bytes, reply.received_ns = frame, len(frame), 0

    def shares(self) -> list[Share]:
        """Of each worker that is asked, in their order; NOBODY's comes last."""
        return shares_of(self.part_bytes())

    def frames(self, inboxes: Sequence[Inbox | None]) -> Iterator[tuple[int, int, bytes]]:
        """Position, worker and frame of each call that no inbox takes."""
        numbers, view, position = self._part_numbers, self._frames.view, 0
        for worker in range(self._worker_count):
            start = worker * PART_FIELDS
            if not numbers[start]:
                continue
            if inboxes[worker] is None:
                at = numbers[start + FRAME_AT]
                yield position, worker, view[at : at + numbers[start + FRAME_AT + 1]].tobytes()
            position += 1

    def part_bytes(self) -> bytes:
        """The shares, for `shares_of`."""
        return bytes(self._parts)

    def reply_bytes(self) -> bytes:
        """What is known of each answer after TAKEN, for `times_of`."""
        return bytes(self._replies)

    def exponents(self) -> NDArray[np.int8]:
        """int8 [rows]: the grids that were chosen."""
        return self._exponents.copy(self._shape[0], np.int8)

    def frame(self, share: Share) -> bytes:
        """The call of a share."""
        return self._frames.view[share.frame_at : share.frame_at + share.frame_bytes].tobytes()

    def part(self, asked: LayerRows, share: Share, call_id: int) -> Part:
        """The part that a share is, with its frame."""
        owners = self._owners
        assert owners is not None, "shares come from owners"
        index = None
        if share.row_count != self._shape[0]:
            index = self._index.copy(share.row_count * 4, np.int32, share.index_at * 4)
        numbers = share.row_count, share.picks, share.distinct
        return Part(share.worker, call_id, self.frame(share), index, *numbers, asked.expert_ids, owners)

    def _use(self, owners: NDArray[np.int32]) -> None:
        """Replicas have other owners in each exchange, mostly of as many workers."""
        self._owners = owners
        count = int(owners.max(initial=NOBODY)) + 1
        asked = self._asked
        asked.owners, asked.expert_count, asked.worker_count = owners.tobytes(), len(owners), count
        if count != self._worker_count:
            self._worker_count = count
            self._inboxes = (ctypes.c_void_p * max(count, 1))()
            self._parts = (EncodedPart * (count + 1))()
            self._part_numbers = memoryview(self._parts).cast("B").cast("q")
            self._replies = (PartReply * max(count, 1))()
            self._fit(*self._shape)

    def _fit(self, row_count: int, hidden: int) -> None:
        self._shape = row_count, hidden
        self._asked.row_count, self._asked.hidden = row_count, hidden
        self._finest, self._exponents = self._finest.of(row_count), self._exponents.of(row_count)
        self._values = self._values.of(row_count * hidden * 4)
        self._index = self._index.of((self._worker_count + 1) * row_count * 4)
        self._asked.exponents = self._exponents.address
        where = ctypes.addressof
        self._taking = (
            self._grids,
            where(self._asked),
            where(self._inboxes),
            where(self._parts),
            self._index.address,
            where(self._replies),
            self._values.address,
            self._finest.address,
            where(self.facts),
        )

    def _asking(self, factor: float) -> tuple[int | float, ...]:
        _, asked, inboxes, parts, index, *_, facts = self._taking
        frames = self._frames
        chosen = self._exponents.address
        return self._grids, factor, asked, chosen, inboxes, parts, index, frames.address, frames.size, facts


def shares_of(part_bytes: bytes) -> list[Share]:
    """The shares that `NativeTurn.part_bytes` holds."""
    parts = list(EncodedPart.numbers_of(part_bytes))
    nobody = len(parts) - 1
    return [
        Share(NOBODY if worker == nobody else worker, *numbers)
        for worker, numbers in enumerate(parts)
        if numbers[0]
    ]
