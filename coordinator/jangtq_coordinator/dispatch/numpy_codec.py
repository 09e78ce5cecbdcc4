"""The codec in NumPy: the reference of NativeCodec, and its substitute without a compiler at installation."""

import math
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.dispatch.codec import (
    NOBODY,
    CallTimes,
    LayerRows,
    Part,
    Reply,
    Sums,
    fault_of,
)
from jangtq_coordinator.dispatch.grid import EXPECTED_BITS, find_unfit, read_sums
from jangtq_kernels.backend import NO_EXPERT
from jangtq_kernels.grid import COARSEST, FINEST
from jangtq_proto.errors import ClusterError
from jangtq_proto.wire.codec import LayerCall, Rows, row_dtype
from jangtq_proto.wire.frames import OK, call_frame, decode_answer, read_answer
from jangtq_proto.wire.row_type import RowType

_NOT_ASKED: Final = -2
_LANES: Final = 8
"""Squares are added in so many partial sums, as in native code: the last bit depends on the order."""
_SMALLEST: Final = 1e-300
_MOST_NS: Final = (1 << 63) - 1


class NumpyCodec:
    """Rows travel as `row_type`."""

    def __init__(self, row_type: RowType) -> None:
        self._row_type = row_type

    def choose_exponents(self, rows: Rows, factor: float) -> NDArray[np.int8]:
        exact = rows.astype(row_dtype(self._row_type)).astype(np.float64)
        missing = -exact.shape[1] % _LANES
        squares = np.square(np.pad(exact, [(0, 0), (0, missing)]))
        lanes = np.add.accumulate(squares.reshape(len(rows), -1, _LANES), axis=1)[:, -1]
        sums: list[float] = np.add.accumulate(lanes, axis=1)[:, -1].tolist()
        return np.array([_exponent_for(total * factor) for total in sums], dtype=np.int8)

    def encode(self, asked: LayerRows, owners: NDArray[np.int32], call_id: int) -> Sequence[Part]:
        ids = asked.expert_ids
        owner_of = np.where(ids == NO_EXPERT, np.int32(_NOT_ASKED), owners[ids])
        found = [worker for worker in np.unique(owner_of).tolist() if worker >= 0]
        if NOBODY in owner_of:
            found.append(NOBODY)
        return [self._encode_part(asked, owners, owner_of == worker, worker, call_id) for worker in found]

    def add(self, asked: LayerRows, replies: Sequence[Reply]) -> Sums:
        started = time.perf_counter_ns()
        answers = [_proven(reply, asked.rows.shape[1]) for reply in replies]
        decode_ns = time.perf_counter_ns() - started
        faults = {
            position: fault_of(replies[position], asked.rows.shape[1])
            for position, answer in enumerate(answers)
            if answer is None
        }
        units, finest = _add_up(asked.rows.shape, replies, answers)
        unfit = find_unfit(asked.exponents, finest)
        times = [answer.times for answer in answers if answer is not None]
        return Sums(read_sums(units, asked.exponents), finest, unfit, faults, times, decode_ns)

    def _encode_part(
        self,
        asked: LayerRows,
        owners: NDArray[np.int32],
        mine: NDArray[np.bool_],
        worker: int,
        call_id: int,
    ) -> Part:
        layer, rows, expert_ids, router_weights, exponents, prefill = asked
        ids = np.where(mine, expert_ids, np.int32(NO_EXPERT))
        picks, distinct = int(np.count_nonzero(mine)), len(np.unique(ids[mine]))
        index = np.flatnonzero(mine.any(axis=1)).astype(np.int32)
        if len(index) < len(ids):
            rows, ids, router_weights, exponents = (
                rows[index],
                ids[index],
                router_weights[index],
                exponents[index],
            )
        elif len(ids) == 1:
            ids, router_weights = ids[mine][None], router_weights[mine][None]
        frame = b""
        if worker != NOBODY:
            call = LayerCall(layer, rows, ids, router_weights, exponents, prefill)
            frame = call_frame(call_id, call, self._row_type)
        row_index = index if len(index) < len(expert_ids) else None
        return Part(worker, call_id, frame, row_index, len(index), picks, distinct, asked.expert_ids, owners)


class _Answer(NamedTuple):
    """The arrays of a checked answer."""

    sums: NDArray[np.int32]
    finest: NDArray[np.int8]
    times: CallTimes


def add_units(shape: tuple[int, int], replies: Sequence[Reply]) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Sums of valid replies: units of each row's grid, int32 [rows, hidden], and finest exponents, int8
    [rows].
    """
    return _add_up(shape, replies, [_proven(reply, shape[1]) for reply in replies])


def _add_up(
    shape: tuple[int, ...], replies: Sequence[Reply], answers: Sequence[_Answer | None]
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    units = np.zeros(shape, dtype=np.int32)
    finest = np.full(len(units), FINEST, dtype=np.int8)
    for reply, answer in zip(replies, answers, strict=True):
        if answer is not None:
            index = slice(None) if reply.part.row_index is None else reply.part.row_index
            units[index] += answer.sums
            finest[index] = np.maximum(finest[index], answer.finest)
    return units, finest


def _proven(reply: Reply, hidden_size: int) -> _Answer | None:
    """None if the frame is not a valid answer."""
    try:
        answer = read_answer(reply.frame)
        if answer.status != OK or answer.call_id != reply.part.call_id:
            return None
        sums, finest = decode_answer(answer, (reply.part.row_count, hidden_size))
    except ClusterError:
        return None
    if max(answer.queue_ns, answer.compute_ns) > _MOST_NS:
        return None
    return _Answer(sums, finest, CallTimes(answer.queue_ns, answer.compute_ns))


def _exponent_for(expected_answer: float) -> int:
    """Some exponent for rows that are not finite: the worker refuses them."""
    above = math.frexp(max(expected_answer, _SMALLEST))[1] if math.isfinite(expected_answer) else 0
    return min(max(above - EXPECTED_BITS, FINEST), COARSEST)
