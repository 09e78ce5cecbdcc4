"""The codec in C++: the structures and functions of native/exchange/exchange.h."""

import ctypes
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.codec import NOBODY, CallTimes, LayerRows, Part, Reply, Sums, fault_of
from jangtq_coordinator.dispatch.grid import EXPECTED_BITS, SLACK_BITS, find_unfit
from jangtq_kernels.cpu_library import native_library
from jangtq_kernels.grid import COARSEST, FINEST
from jangtq_kernels.native_layout import check_layout
from jangtq_proto.wire.codec import Rows, row_dtype, wire_row_type
from jangtq_proto.wire.row_type import RowType

_SCRATCH_BYTES: Final = 1 << 20


class Grids(ctypes.Structure):
    """JangtqGrids."""

    _fields_ = [(name, ctypes.c_int64) for name in ("finest", "coarsest", "slack_bits", "expected_bits")]


class CallRows(ctypes.Structure):
    """JangtqCallRows."""

    _fields_ = [
        *(
            (name, ctypes.c_void_p)
            for name in ("rows", "expert_ids", "router_weights", "exponents", "owners")
        ),
        *((name, ctypes.c_int64) for name in ("row_count", "slot_count", "hidden", "expert_count")),
        *((name, ctypes.c_int64) for name in ("worker_count", "row_type", "layer", "prefill")),
        ("call_id", ctypes.c_uint64),
    ]


class EncodedPart(ctypes.Structure):
    """JangtqEncodedPart."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("row_count", "picks", "distinct", "index_at", "frame_at", "frame_bytes")
    ]


class PartReply(ctypes.Structure):
    """JangtqPartReply."""

    _fields_ = [
        ("frame", ctypes.c_char_p),
        ("frame_bytes", ctypes.c_int64),
        ("call_id", ctypes.c_uint64),
        ("row_count", ctypes.c_int64),
        ("row_index", ctypes.c_void_p),
        ("queue_ns", ctypes.c_int64),
        ("compute_ns", ctypes.c_int64),
        ("is_good", ctypes.c_int64),
    ]


_PART_FIELDS: Final = len(EncodedPart._fields_)
_GRIDS: Final = Grids(FINEST, COARSEST, SLACK_BITS, EXPECTED_BITS)


class NativeCodec:
    """Rows travel as `row_type`. For one thread. Raises BackendMissingError where no library was compiled."""

    def __init__(self, row_type: RowType) -> None:
        functions = native_library().functions
        check_layout(functions, Grids, CallRows, EncodedPart, PartReply)
        self._row_type = int(wire_row_type(row_type))
        self._dtype = row_dtype(row_type)
        self._choose = functions.jangtq_choose_exponents
        self._choose.restype = None
        self._choose.argtypes = [
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_void_p,
            *[ctypes.c_int64] * 2,
            ctypes.c_double,
            ctypes.c_void_p,
        ]
        self._encode = functions.jangtq_encode
        self._encode.restype = ctypes.c_int64
        self._encode.argtypes = [*[ctypes.c_void_p] * 4, ctypes.c_int64]
        self._add = functions.jangtq_add
        self._add.restype = ctypes.c_int64
        self._add.argtypes = [
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_void_p,
            *[ctypes.c_int64] * 3,
            *[ctypes.c_void_p] * 2,
        ]
        self._scratch = np.empty(_SCRATCH_BYTES, dtype=np.uint8)

    def choose_exponents(self, rows: Rows, factor: float) -> NDArray[np.int8]:
        exponents = np.empty(len(rows), dtype=np.int8)
        sent = self._sent(rows)
        self._choose(ctypes.addressof(_GRIDS), self._row_type, _at(sent), *sent.shape, factor, _at(exponents))
        return exponents

    def encode(self, asked: LayerRows, owners: NDArray[np.int32], call_id: int) -> Sequence[Part]:
        rows, ids = self._sent(asked.rows), np.ascontiguousarray(asked.expert_ids)
        weights, exponents = np.ascontiguousarray(asked.router_weights), np.ascontiguousarray(asked.exponents)
        owners = np.ascontiguousarray(owners)
        row_count, slot_count = ids.shape
        worker_count = int(owners.max(initial=NOBODY)) + 1
        struct = CallRows(
            _at(rows),
            _at(ids),
            _at(weights),
            _at(exponents),
            _at(owners),
            row_count,
            slot_count,
            rows.shape[1],
            len(owners),
            worker_count,
            self._row_type,
            asked.layer,
            asked.prefill,
            call_id,
        )
        numbers = np.empty((worker_count + 1, _PART_FIELDS), dtype=np.int64)
        index = np.empty((worker_count + 1) * row_count, dtype=np.int32)
        frames = self._scratch
        arguments = ctypes.addressof(struct), _at(numbers), _at(index)
        size = self._encode(*arguments, _at(frames), len(frames))
        if size > len(frames):
            frames = np.empty(size, dtype=np.uint8)
            self._encode(*arguments, _at(frames), size)
        if size < 0:
            raise IndexError(f"expert ids are below {len(owners)}: {ids.max()}")
        found = enumerate(numbers.tolist())
        return [
            Part(
                worker if worker < worker_count else NOBODY,
                call_id,
                frames[frame_at : frame_at + frame_bytes].tobytes(),
                None if rows_of == row_count else index[index_at : index_at + rows_of].copy(),
                rows_of,
                picks,
                distinct,
                asked.expert_ids,
                owners,
            )
            for worker, (rows_of, picks, distinct, index_at, frame_at, frame_bytes) in found
            if rows_of
        ]

    def add(self, asked: LayerRows, replies: Sequence[Reply]) -> Sums:
        shape, exponents = asked.rows.shape, np.ascontiguousarray(asked.exponents)
        values, finest = np.empty(shape, dtype=np.float32), np.empty(shape[0], dtype=np.int8)
        structs = (PartReply * len(replies))(*map(_struct, replies))
        decode_ns = self._add(
            ctypes.addressof(structs),
            len(replies),
            _at(exponents),
            *shape,
            FINEST,
            _at(values),
            _at(finest),
        )
        faults = {
            position: fault_of(replies[position], shape[1])
            for position, struct in enumerate(structs)
            if not struct.is_good
        }
        times = [CallTimes(struct.queue_ns, struct.compute_ns) for struct in structs if struct.is_good]
        return Sums(values, finest, find_unfit(asked.exponents, finest), faults, times, decode_ns)

    def _sent(self, rows: Rows) -> Rows:
        return np.ascontiguousarray(rows, dtype=self._dtype)


def _struct(reply: Reply) -> PartReply:
    part, frame = reply
    index = None if part.row_index is None else _at(part.row_index)
    return PartReply(frame, len(frame), part.call_id, part.row_count, index)


def _at(array: NDArray[np.generic]) -> int:
    """The address of its values, in a third of the time of `ctypes.data`."""
    address: int = array.__array_interface__["data"][0]
    return address
