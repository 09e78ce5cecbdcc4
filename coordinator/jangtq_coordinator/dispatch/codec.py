"""The interface of codecs: a layer's rows become one frame a worker, frames of answers become sums. Pure.

NativeCodec and NumpyCodec give the same bytes and the same sums, to the bit; one of them is chosen at start.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT
from jangtq_proto.errors import ClusterError, WorkerFaultError
from jangtq_proto.grpc_status import error_of_number
from jangtq_proto.wire.codec import Rows
from jangtq_proto.wire.frames import OK, decode_answer, read_answer

NOBODY: Final = -1
"""The owner of an expert that no worker serves."""


class LayerRows(NamedTuple):
    """All rows and picked experts of one layer.

    rows: [rows, hidden]. expert_ids: int32 [rows, slots], NO_EXPERT where a slot is unused; router_weights:
    float32 [rows, slots]. exponents: int8 [rows], of the grids on which the rows' answers are added.
    """

    layer: int
    rows: Rows
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]
    exponents: NDArray[np.int8]
    prefill: bool


class Part(NamedTuple):
    """The part of an exchange for one worker.

    worker: an owner, or NOBODY. frame: the call; empty for NOBODY. row_index: int32 [row_count], positions in
    the layer's rows; None stands for all of them. picks: slots that hold an expert of this worker; distinct:
    experts among them. expert_ids, owners: what was encoded, of which this is a part.
    """

    worker: int
    call_id: int
    frame: bytes
    row_index: NDArray[np.int32] | None
    row_count: int
    picks: int
    distinct: int
    expert_ids: NDArray[np.int32]
    owners: NDArray[np.int32]

    def own_ids(self) -> NDArray[np.int32]:
        """int32 [rows, slots] of the whole layer: the experts of this part, NO_EXPERT elsewhere."""
        ids = self.expert_ids
        return np.where((ids >= 0) & (self.owners[ids] == self.worker), ids, np.int32(NO_EXPERT))

    def own_experts(self) -> set[int]:
        """The experts that the worker is asked for."""
        ids = self.own_ids()
        return set(ids[ids >= 0].tolist())


class Reply(NamedTuple):
    """A part with the frame that answers it."""

    part: Part
    frame: bytes


class CallTimes(NamedTuple):
    """Nanoseconds that a call waited for the worker's device and was computed, as the worker reports."""

    queue_ns: int
    compute_ns: int


class PartTimes(NamedTuple):
    """CallTimes of a part, and the time.perf_counter_ns at which its answer was there."""

    queue_ns: int
    compute_ns: int
    received_ns: int


class Sums(NamedTuple):
    """The sum of all replies.

    values: float32 [rows, hidden], without meaning for rows of `unfit` and where there are faults. finest:
    int8 [rows], the finest exponents of all answers. unfit: rows whose grid does not suit their answers.
    faults: the errors of invalid replies, by position. times: of each valid reply. decode_ns: the time to
    check them.
    """

    values: NDArray[np.float32]
    finest: NDArray[np.int8]
    unfit: Sequence[int]
    faults: dict[int, ClusterError]
    times: Sequence[CallTimes]
    decode_ns: int


class Codec(Protocol):
    """Three pure functions, the same to the bit in every codec."""

    def choose_exponents(self, rows: Rows, factor: float) -> NDArray[np.int8]:
        """int8 [rows]: grids that give the largest expected answer the bits that `grid` demands.

        factor: from the sum of a row's squares to its largest expected answer.
        """

    def encode(self, asked: LayerRows, owners: NDArray[np.int32], call_id: int) -> Sequence[Part]:
        """One part for each owner of a picked expert, in their order; NOBODY comes last.

        owners: int32 [experts], who is asked for each. Raises IndexError for an expert beyond these.
        """

    def add(self, asked: LayerRows, replies: Sequence[Reply]) -> Sums:
        """The sums of all replies on the grids of `asked`."""


def fault_of(reply: Reply, hidden_size: int) -> ClusterError:
    """Why a frame is not a valid answer to its part."""
    try:
        answer = read_answer(reply.frame)
        if answer.status != OK:
            return error_of_number(answer.status, answer.message)
        if answer.call_id != reply.part.call_id:
            return WorkerFaultError(f"call {answer.call_id} was answered instead of {reply.part.call_id}")
        decode_answer(answer, (reply.part.row_count, hidden_size))
    except ClusterError as error:
        return WorkerFaultError(str(error))
    return WorkerFaultError(f"{answer.queue_ns} and {answer.compute_ns} are no times that a call takes")
