"""Calls and answers as objects on either side of connections, which carry frames only."""

import itertools
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from jangtq_coordinator.transport.connection import Connection, GiveUp, never
from jangtq_kernels.grid import finest_exponents, grid_scales, magnitudes_of, to_grid
from jangtq_proto.errors import CallRejectedError, WorkerFaultError
from jangtq_proto.grpc_status import error_of_number, status_number
from jangtq_proto.wire.codec import CallShape, LayerCall, decode_call
from jangtq_proto.wire.frames import (
    OK,
    answer_frame,
    call_frame,
    decode_answer,
    failure_frame,
    read_answer,
    read_call,
)
from jangtq_proto.wire.row_type import RowType


class LayerAnswer(NamedTuple):
    """int32 [rows, hidden] partial sums, int8 [rows] finest exponents; the worker's nanoseconds."""

    partial_sums: NDArray[np.int32]
    finest: NDArray[np.int8]
    queue_ns: int = 0
    compute_ns: int = 0


class CallConnection:
    """What a test holds: calls go into frames, answers come out of them."""

    def __init__(
        self, connection: Connection, row_type: RowType = RowType.FLOAT32, *, name: str = ""
    ) -> None:
        self.connection = connection
        self._row_type = row_type
        self._name = name
        self._ids = itertools.count(1)
        self._shapes: dict[int, tuple[int, int]] = {}

    def send(self, call: LayerCall) -> int:
        call_id = next(self._ids)
        self._shapes[call_id] = call.rows.shape[0], call.rows.shape[1]
        self.connection.send(call_id, call_frame(call_id, call, self._row_type))
        return call_id

    def receive(self, call_id: int, give_up: GiveUp = never) -> LayerAnswer:
        frame = self.connection.receive(call_id, give_up)
        try:
            answer = read_answer(frame)
            arrays = decode_answer(answer, self._shapes[call_id]) if answer.status == OK else None
        except CallRejectedError as error:
            raise WorkerFaultError(f"{self._name}: {error}") from error
        if arrays is None:
            raise error_of_number(answer.status, f"{self._name}: {answer.message}")
        return LayerAnswer(*arrays, answer.queue_ns, answer.compute_ns)

    def abandon(self) -> None:
        self.connection.abandon()

    def close(self) -> None:
        self.connection.close()


class Answering(Protocol):
    """What a test scripts: calls come as objects, answers go as such."""

    def send(self, call: LayerCall) -> int: ...
    def receive(self, call_id: int, give_up: GiveUp = never) -> LayerAnswer: ...
    def abandon(self) -> None: ...
    def close(self) -> None: ...


class FrameConnection:
    """The same behind frames, for a dispatcher. An error of its own breaks the connection, as losses do;
    CallRejectedError, WorkerFaultError and WorkerBusyError travel as a worker's answers.
    """

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self._ids: dict[int, int] = {}

    def send(self, call_id: int, frame: bytes) -> None:
        call = read_call(frame)
        size = {1: 4}.get(call.row_type, 2)
        hidden = len(call.rows) // max(call.row_count, 1) // size
        self._ids[call_id] = self.answering.send(decode_call(call, CallShape(1 << 20, hidden)))

    def receive(self, call_id: int, give_up: GiveUp = never) -> bytes:
        try:
            found = self.answering.receive(self._ids.pop(call_id), give_up)
        except (CallRejectedError, WorkerFaultError) as error:
            return failure_frame(call_id, status_number(error), str(error))
        return answer_frame(
            call_id, found.partial_sums, found.finest, queue_ns=found.queue_ns, compute_ns=found.compute_ns
        )

    def abandon(self) -> None:
        self._ids.clear()
        self.answering.abandon()

    def close(self) -> None:
        self.answering.close()


def framed(connection: Connection | Answering) -> Connection:
    """A connection for a dispatcher, whatever a test brings."""
    if isinstance(connection, CallConnection):
        return connection.connection
    takes_frames = connection.send.__code__.co_argcount == 3
    return connection if takes_frames else FrameConnection(connection)  # type: ignore[return-value, arg-type]


def answer_on_grid(call: LayerCall, answers: NDArray[np.float32], *, compute_ns: int = 0) -> LayerAnswer:
    """Weighted answers, float32 [rows, slots, hidden], on the grids that the call gives."""
    rows, slots, hidden = answers.shape
    scales = np.repeat(grid_scales(call.exponents), slots)
    on_grid = to_grid(answers.reshape(-1, hidden), scales).reshape(answers.shape)
    return LayerAnswer(
        on_grid.sum(axis=1, dtype=np.int32),
        finest_exponents(magnitudes_of(answers.reshape(rows, -1))),
        queue_ns=0,
        compute_ns=compute_ns,
    )


def multiply(call: LayerCall, loudness: float) -> LayerAnswer:
    """Expert `e` multiplies a row by `loudness ** (e + 1)`."""
    used = np.where(call.expert_ids >= 0, call.router_weights, np.float32(0))
    factors = np.float32(loudness) ** (call.expert_ids + 1).astype(np.float32) * used
    return answer_on_grid(call, factors[..., None] * call.rows.astype(np.float32)[:, None], compute_ns=1000)
