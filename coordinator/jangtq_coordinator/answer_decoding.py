"""An answer's bytes become arrays once they are proven whole. Knows no transport."""

import time
from typing import NamedTuple

from jangtq_coordinator.lane import LayerAnswer
from jangtq_proto.codec import Bytes, answer_checksum, decode_finest, decode_partial_sums
from jangtq_proto.errors import CallRejectedError, WorkerFaultError


class AnswerBytes(NamedTuple):
    """An answer as it arrived; members as in ExpertReply."""

    call_id: int
    partial_sums: Bytes
    finest: Bytes
    checksum: int
    queue_ns: int
    compute_ns: int

    def decode(self, worker: str, shape: tuple[int, int]) -> LayerAnswer:
        """The answer to a call of this shape, [rows, hidden]. Raises WorkerFaultError."""
        started = time.perf_counter_ns()
        if answer_checksum(self.call_id, self.partial_sums, self.finest) != self.checksum:
            raise WorkerFaultError(f"{worker}: the answer was damaged on its way, its checksum is wrong")
        try:
            sums, finest = decode_partial_sums(self.partial_sums, shape), decode_finest(self.finest, shape[0])
        except CallRejectedError as error:
            raise WorkerFaultError(f"{worker}: {error}") from error
        decode_ns = time.perf_counter_ns() - started
        return LayerAnswer(sums, finest, self.queue_ns, self.compute_ns, decode_ns=decode_ns)
