"""The memory of native exchanges: arrays at addresses that stay, and the calls that work on them."""

import ctypes
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.exchange_library import (
    ExchangeLibrary,
    ExchangeStruct,
    Outcome,
    PartStruct,
    Summary,
)
from jangtq_coordinator.dispatch.grid import GRIDS
from jangtq_proto.wire.codec import Rows, wire_row_type
from jangtq_proto.wire.row_type import RowType

MOST_ROWS: Final = 32
MOST_SLOTS: Final = 32
_CACHE_LINE: Final = 64
_PART_SIZE = len(PartStruct._fields)
_READ_NS = Summary._fields.index("read_ns")
# Of the first worker among all that is told.
_PICKS = len(Summary._fields) + PartStruct._fields.index("picks")
_FRAME_BYTES = len(Summary._fields) + PartStruct._fields.index("frame_bytes")


class AskedRows(NamedTuple):
    """One layer's rows whose grids are not chosen yet; members as in LayerCall.

    factor: see `exponents.expected_answer_factor`.
    """

    layer: int
    rows: Rows
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]
    prefill: bool
    factor: float


class AskedWorkers:
    """Who holds what, and the sockets to reach them; shared by all exchanges."""

    def __init__(self, count: int, owners: NDArray[np.int32]) -> None:
        """owners: int32 [experts], the position of each expert's worker, negative where there is none."""
        self.owners = np.ascontiguousarray(owners, dtype=np.int32)
        self.sockets = np.full((count, 2), -1, dtype=np.int64)
        """Of each worker the file descriptor, -1 where there is none, and the nanoseconds to poll."""


class ExchangeMemory:
    """Everything that one exchange under way needs, at most MOST_ROWS rows with MOST_SLOTS slots."""

    def __init__(
        self, library: ExchangeLibrary, workers: AskedWorkers, hidden: int, row_type: RowType
    ) -> None:
        """hidden, row_type: how many values a row has, and of which type, as for the connections."""
        count = len(workers.sockets)
        self.workers = workers
        self._library = library
        self._exponents = np.empty(MOST_ROWS, dtype=np.int8)
        self._told = np.zeros(len(Summary._fields) + count * len(PartStruct._fields), dtype=np.int64)
        self._summary = self._told[: len(Summary._fields)]
        self._parts = self._told[len(Summary._fields) :].reshape(count, -1)
        self._row_index = np.empty((count, MOST_ROWS), dtype=np.int32)
        stride = -(-library.answer_bytes(MOST_ROWS, hidden) // _CACHE_LINE) * _CACHE_LINE
        self._answers = np.empty((count, stride), dtype=np.uint8)
        most = library.most_message_bytes(MOST_ROWS, MOST_SLOTS, hidden)
        self._messages = np.empty((count, most), dtype=np.uint8)
        self._replies = np.zeros((count, 2), dtype=np.uintp)
        self._sums = np.empty((MOST_ROWS, hidden), dtype=np.float32)
        self._sums_of = [self._sums[:rows] for rows in range(MOST_ROWS + 1)]
        self._message_of = [memoryview(message) for message in self._messages]
        self._number = self._told.data
        self._row_count = 0
        self._exchange = self._describe(hidden, row_type)
        self._address = ctypes.addressof(self._exchange)

    def ask(self, asked: AskedRows, call_id: int) -> int:
        """The Outcome of choosing grids, splitting and sending."""
        layer, rows, expert_ids, router_weights, prefill, factor = asked
        self._row_count, slots = expert_ids.shape
        # As bytes, since NumPy takes longer to fill arrays, and to tell addresses, than all else takes.
        outcome: int = self._library.ask(
            self._address,
            rows.tobytes(),
            expert_ids.tobytes(),
            router_weights.tobytes(),
            layer,
            self._row_count,
            slots,
            prefill,
            factor,
            call_id,
        )
        return outcome

    def message(self, worker: int) -> bytes:
        """The ExpertCall for a worker by message, after `ask`."""
        return self._message_of[worker][: self._number[_FRAME_BYTES + worker * _PART_SIZE]].tobytes()

    def take_message(self, worker: int, call_id: int, data: bytes) -> bool:
        """Whether a message is the proven answer of a worker by message; it has to live until `collect`."""
        outcome = self._library.take_message(self._address, worker, call_id, data, len(data))
        return bool(outcome == Outcome.ORDINARY)

    def collect(self, call_id: int, *, patience_ns: int) -> NDArray[np.float32] | None:
        """The sums of all answers, float32 [rows, hidden]; None where the outcome is not ordinary."""
        outcome = self._library.collect(self._address, self._row_count, call_id, patience_ns)
        return self._sums_of[self._row_count].copy() if outcome == Outcome.ORDINARY else None

    def exponents(self, rows: int) -> NDArray[np.int8]:
        """Those that `ask` chose."""
        return self._exponents[:rows].copy()

    def picks(self, worker: int) -> int:
        """How much a worker is asked for."""
        return self._number[_PICKS + worker * _PART_SIZE]

    def part(self, worker: int) -> PartStruct:
        """What was done with one worker."""
        return PartStruct(*self._parts[worker].tolist())

    def read_ns(self) -> int:
        """When the last answer was there, after an ordinary outcome."""
        return self._number[_READ_NS]

    def told(self) -> bytes:
        """A copy of what native code tells of an exchange after an ordinary outcome, for `read_told`."""
        return self._told.tobytes()

    def answer(self, worker: int, nbytes: int) -> bytes:
        """What was read of a worker's answer."""
        return self._answers[worker, :nbytes].tobytes()

    def _describe(self, hidden: int, row_type: RowType) -> ExchangeStruct:
        workers = self.workers
        return ExchangeStruct(
            workers=workers.sockets.ctypes.data,
            worker_count=len(workers.sockets),
            owners=workers.owners.ctypes.data,
            expert_count=len(workers.owners),
            hidden=hidden,
            grids=ctypes.addressof(GRIDS),
            row_type=wire_row_type(row_type),
            exponents=self._exponents.ctypes.data,
            sums=self._sums.ctypes.data,
            parts=self._parts.ctypes.data,
            summary=self._summary.ctypes.data,
            row_index=self._row_index.ctypes.data,
            answers=self._answers.ctypes.data,
            answer_stride=self._answers.shape[1],
            messages=self._messages.ctypes.data,
            message_stride=self._messages.shape[1],
            replies=self._replies.ctypes.data,
        )


def read_told(told: bytes) -> tuple[Summary, list[PartStruct]]:
    """What `ExchangeMemory.told` says of the whole exchange, and of every worker."""
    numbers: list[int] = np.frombuffer(told, dtype=np.int64).tolist()
    first, size = len(Summary._fields), len(PartStruct._fields)
    parts = [PartStruct(*numbers[at : at + size]) for at in range(first, len(numbers), size)]
    return Summary(*numbers[:first]), parts
