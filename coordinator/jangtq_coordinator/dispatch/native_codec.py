"""The codec in C++: the structures and functions of native/exchange/exchange.h."""

import ctypes
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.codec import NOBODY, CallTimes, LayerRows, Part, Reply, Sums, fault_of
from jangtq_coordinator.dispatch.grid import find_unfit
from jangtq_coordinator.dispatch.native_structures import (
    GRIDS,
    PART_FIELDS,
    QUEUE_NS,
    REPLY_FIELDS,
    CallRows,
    EncodedPart,
    Grids,
    Memory,
    PartReply,
)
from jangtq_coordinator.dispatch.native_turn import NativeTurn
from jangtq_kernels.cpu_library import native_library
from jangtq_kernels.native_layout import check_layout
from jangtq_proto.errors import ClusterError
from jangtq_proto.wire.codec import Rows, row_dtype, wire_row_type
from jangtq_proto.wire.row_type import RowType

_SCRATCH_BYTES: Final = 1 << 20


class NativeCodec:
    """Rows travel as `row_type`. For one thread. Raises BackendMissingError where no library was compiled.

    Arrays go to native code as bytes, and come back through memory whose address is known: NumPy takes longer
    to tell an address than all else takes for a single row. Owners that were encoded must not be changed.
    """

    def __init__(self, row_type: RowType) -> None:
        functions = native_library().functions
        check_layout(functions, Grids, CallRows, EncodedPart, PartReply)
        self._row_type = int(wire_row_type(row_type))
        self._dtype = row_dtype(row_type)
        address, number = ctypes.c_void_p, ctypes.c_int64
        self._choose = functions.jangtq_choose_exponents
        self._choose.restype = None
        self._choose.argtypes = [address, number, ctypes.c_char_p, number, number, ctypes.c_double, address]
        self._encode = functions.jangtq_encode
        self._encode.restype = number
        self._encode.argtypes = [address, address, address, address, number]
        self._add = functions.jangtq_add
        self._add.restype = ctypes.c_int32
        self._add.argtypes = [address, number, address, ctypes.c_char_p, number, number, *[address] * 3]
        self.turn = NativeTurn(row_type)
        """The same three functions in two calls, with sockets."""
        self._grids = ctypes.addressof(GRIDS)
        self._proof_ns = ctypes.c_int64()
        self._proof_ns_at = ctypes.addressof(self._proof_ns)
        self._scratch = Memory(_SCRATCH_BYTES)
        self._small = Memory(_SCRATCH_BYTES // 16)
        self._owners: NDArray[np.int32] | None = None
        self._numbers = Memory(_SCRATCH_BYTES // 16)

    def choose_exponents(self, rows: Rows, factor: float) -> NDArray[np.int8]:
        memory = self._small.of(len(rows))
        sent = self._sent(rows).tobytes()
        self._choose(self._grids, self._row_type, sent, *rows.shape, factor, memory.address)
        return memory.copy(len(rows), np.int8)

    def encode(self, asked: LayerRows, owners: NDArray[np.int32], call_id: int) -> Sequence[Part]:
        layer, rows, ids, weights, exponents, prefill = asked
        row_count, slot_count = ids.shape
        if owners is not self._owners:
            self._owners, self._owner_bytes = owners, owners.tobytes()
            self._worker_count = int(owners.max(initial=NOBODY)) + 1
        worker_count = self._worker_count
        struct = CallRows(
            self._sent(rows).tobytes(),
            ids.tobytes(),
            weights.tobytes(),
            exponents.tobytes(),
            self._owner_bytes,
            row_count,
            slot_count,
            rows.shape[1],
            len(owners),
            worker_count,
            self._row_type,
            layer,
            prefill,
            call_id,
        )
        part_bytes = (worker_count + 1) * PART_FIELDS * 8
        numbers, index = self._numbers.of(part_bytes), self._small.of((worker_count + 1) * row_count * 4)
        frames = self._scratch
        arguments = ctypes.addressof(struct), numbers.address, index.address
        size = self._encode(*arguments, frames.address, frames.size)
        if size > frames.size:
            frames = Memory(size)
            self._encode(*arguments, frames.address, size)
        if size < 0:
            raise IndexError(f"expert ids are below {len(owners)}: {ids.max()}")
        parts = []
        for worker, part in enumerate(EncodedPart.numbers_of(numbers.view[:part_bytes].tobytes())):
            rows_of, picks, distinct, index_at, frame_at, frame_bytes, _ = part
            if rows_of:
                row_index = None if rows_of == row_count else index.copy(rows_of * 4, np.int32, index_at * 4)
                owner = worker if worker < worker_count else NOBODY
                frame = frames.view[frame_at : frame_at + frame_bytes].tobytes()
                parts.append(Part(owner, call_id, frame, row_index, rows_of, picks, distinct, ids, owners))
        return parts

    def add(self, asked: LayerRows, replies: Sequence[Reply]) -> Sums:
        row_count, hidden = asked.rows.shape
        structs = (PartReply * len(replies))(*map(_struct, replies))
        values, finest = self._scratch.of(row_count * hidden * 4), self._small.of(row_count)
        is_ordinary = self._add(
            ctypes.addressof(structs),
            len(replies),
            self._grids,
            asked.exponents.tobytes(),
            row_count,
            hidden,
            values.address,
            finest.address,
            self._proof_ns_at,
        )
        numbers = memoryview(structs).cast("B").cast("q").tolist()
        taken = zip(*(numbers[QUEUE_NS + i :: REPLY_FIELDS] for i in range(3)), strict=True)
        faults: dict[int, ClusterError] = {}
        times, unfit = [], []
        for position, (queue_ns, compute_ns, is_good) in enumerate(taken):
            if is_good:
                times.append(CallTimes(queue_ns, compute_ns))
            else:
                faults[position] = fault_of(replies[position], hidden)
        found = finest.copy(row_count, np.int8)
        if not is_ordinary:
            unfit = find_unfit(asked.exponents, found)
        sums = values.copy(row_count * hidden * 4, np.float32).reshape(row_count, hidden)
        return Sums(sums, found, unfit, faults, times, self._proof_ns.value)

    def _sent(self, rows: Rows) -> Rows:
        return rows if rows.dtype == self._dtype else rows.astype(self._dtype)


def _struct(reply: Reply) -> PartReply:
    part, frame = reply
    index = None if part.row_index is None else part.row_index.ctypes.data
    return PartReply(frame, len(frame), part.call_id, part.row_count, index)
