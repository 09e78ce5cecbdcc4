"""An answer's bytes become arrays once they are proven whole. Knows no transport."""

import time
from typing import Protocol

from jangtq_coordinator.transport.connection import LayerAnswer
from jangtq_proto.errors import CallRejectedError, WorkerFaultError
from jangtq_proto.wire.codec import Bytes, answer_checksum, decode_finest, decode_partial_sums


class AnswerMessage(Protocol):
    """What every connection's messages tell of an answer; members as in ExpertReply."""

    @property
    def call_id(self) -> int: ...
    @property
    def checksum(self) -> int: ...
    @property
    def queue_ns(self) -> int: ...
    @property
    def compute_ns(self) -> int: ...


def decode_answer(
    message: AnswerMessage, partial_sums: Bytes, finest: Bytes, *, shape: tuple[int, int], worker: str
) -> LayerAnswer:
    """The answer to a call of this shape, [rows, hidden]; its arrays look into the bytes.

    Raises WorkerFaultError that names the worker.
    """
    started = time.perf_counter_ns()
    if answer_checksum(message.call_id, partial_sums, finest) != message.checksum:
        raise WorkerFaultError(f"{worker}: the answer was damaged on its way, its checksum is wrong")
    try:
        sums, exponents = decode_partial_sums(partial_sums, shape), decode_finest(finest, shape[0])
    except CallRejectedError as error:
        raise WorkerFaultError(f"{worker}: {error}") from error
    decode_ns = time.perf_counter_ns() - started
    return LayerAnswer(sums, exponents, message.queue_ns, message.compute_ns, decode_ns)
