"""The memory of native exchanges: arrays at addresses that stay, and the calls that work on them."""

import ctypes
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.exchange_library import Exchange, ExchangeLibrary, Outcome, Part, Summary
from jangtq_coordinator.exponents import GRIDS
from jangtq_proto.codec import Rows

MOST_ROWS: Final = 32
MOST_SLOTS: Final = 32
_CACHE_LINE: Final = 64


class AskedRows(NamedTuple):
    """One layer's float32 rows whose grids are not chosen yet; members as in LayerCall.

    factor: see `exponents.expected_answer_factor`.
    """

    layer: int
    rows: Rows
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]
    prefill: bool
    factor: float


class Holders:
    """Who holds what, and the sockets to reach them; shared by all exchanges."""

    def __init__(self, count: int, owners: NDArray[np.int32]) -> None:
        """owners: int32 [experts], the position of each expert's holder, negative where there is none."""
        self.owners = np.ascontiguousarray(owners, dtype=np.int32)
        self.sockets = np.full((count, 2), -1, dtype=np.int64)
        """Of each holder the file descriptor, -1 where there is none, and the nanoseconds to poll."""


class ExchangeMemory:
    """Everything that one exchange under way needs, at most MOST_ROWS rows with MOST_SLOTS slots."""

    def __init__(self, library: ExchangeLibrary, holders: Holders, hidden: int) -> None:
        count = len(holders.sockets)
        self.holders = holders
        self._library = library
        self._rows = np.empty((MOST_ROWS, hidden), dtype=np.float32)
        self._expert_ids = np.empty(MOST_ROWS * MOST_SLOTS, dtype=np.int32)
        self._router_weights = np.empty(MOST_ROWS * MOST_SLOTS, dtype=np.float32)
        self._exponents = np.empty(MOST_ROWS, dtype=np.int8)
        self._units = np.empty((MOST_ROWS, hidden), dtype=np.int32)
        self._parts = np.zeros((count, len(Part._fields)), dtype=np.int64)
        self._summary = np.zeros(len(Summary._fields), dtype=np.int64)
        self._row_index = np.empty((count, MOST_ROWS), dtype=np.int32)
        stride = -(-library.answer_bytes(MOST_ROWS, hidden) // _CACHE_LINE) * _CACHE_LINE
        self._answers = np.empty((count, stride), dtype=np.uint8)
        most = library.most_message_bytes(MOST_ROWS, MOST_SLOTS, hidden)
        self._messages = np.empty((count, most), dtype=np.uint8)
        self._views: dict[tuple[int, ...], tuple[Rows, NDArray[np.int32], NDArray[np.float32]]] = {}
        self._sums = np.empty((0, hidden), dtype=np.float32)
        self._exchange = self._describe(hidden)
        self._address = ctypes.addressof(self._exchange)

    def ask(self, asked: AskedRows, call_id: int) -> int:
        """The Outcome of choosing grids, splitting and sending."""
        layer, rows, expert_ids, router_weights, prefill, factor = asked
        count, slots = shape = expert_ids.shape
        views = self._views.get(shape)
        if views is None:
            views = self._views[shape] = self._view(count, slots)
        for view, values in zip(views, (rows, expert_ids, router_weights), strict=True):
            view[...] = values
        outcome: int = self._library.ask(self._address, layer, count, slots, prefill, factor, call_id)
        return outcome

    def prepare_sums(self, rows: int) -> None:
        """Make room for what `collect` will find."""
        self._sums = np.empty((rows, self._rows.shape[1]), dtype=np.float32)
        self._exchange.sums = self._sums.ctypes.data

    def message(self, holder: int, nbytes: int) -> bytes:
        """The ExpertCall for a holder by message, after `ask`."""
        return self._messages[holder, :nbytes].tobytes()

    def take_message(self, holder: int, call_id: int, data: bytes) -> bool:
        """Whether a message is the proven answer of a holder by message, which `collect` then adds."""
        outcome = self._library.take_message(self._address, holder, call_id, data, len(data))
        return bool(outcome == Outcome.ORDINARY)

    def collect(self, call_id: int, *, patience_ns: int) -> int:
        """The Outcome of reading the answers and adding them up."""
        outcome: int = self._library.collect(self._address, len(self._sums), call_id, patience_ns)
        return outcome

    def take_sums(self) -> NDArray[np.float32]:
        """float32 [rows, hidden]."""
        return self._sums

    def exponents(self, rows: int) -> NDArray[np.int8]:
        """Those that `ask` chose."""
        return self._exponents[:rows].copy()

    def parts(self) -> list[list[int]]:
        """The members of a Part for every holder."""
        found: list[list[int]] = self._parts.tolist()
        return found

    def summary(self) -> Summary:
        """After an ordinary outcome."""
        return Summary(*self._summary.tolist())

    def answer(self, holder: int, nbytes: int) -> bytes:
        """What was read of a holder's answer."""
        return self._answers[holder, :nbytes].tobytes()

    def _view(self, count: int, slots: int) -> tuple[Rows, NDArray[np.int32], NDArray[np.float32]]:
        """Where the rows, expert ids and router weights of so many rows and slots belong."""
        picks = count * slots
        ids, weights = self._expert_ids[:picks], self._router_weights[:picks]
        return self._rows[:count], ids.reshape(count, slots), weights.reshape(count, slots)

    def _describe(self, hidden: int) -> Exchange:
        holders = self.holders
        return Exchange(
            holders=holders.sockets.ctypes.data,
            holder_count=len(holders.sockets),
            owners=holders.owners.ctypes.data,
            expert_count=len(holders.owners),
            hidden=hidden,
            grids=ctypes.addressof(GRIDS),
            rows=self._rows.ctypes.data,
            expert_ids=self._expert_ids.ctypes.data,
            router_weights=self._router_weights.ctypes.data,
            exponents=self._exponents.ctypes.data,
            units=self._units.ctypes.data,
            parts=self._parts.ctypes.data,
            summary=self._summary.ctypes.data,
            row_index=self._row_index.ctypes.data,
            answers=self._answers.ctypes.data,
            answer_stride=self._answers.shape[1],
            messages=self._messages.ctypes.data,
            message_stride=self._messages.shape[1],
        )
