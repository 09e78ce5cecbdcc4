"""The experts of one worker, which compute partial sums."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jangtq_kernels.backend import LoadedLayer, PartialSums
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.native_answers import open_native_answers
from jangtq_proto.errors import CallRejectedError, WorkerFaultError
from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.frames import read_answer
from jangtq_worker.device.call_batch import goes_along, join, split
from jangtq_worker.device.chunks import SLICE_ROWS, slice_rows
from jangtq_worker.device.device_queue import DeviceQueue
from jangtq_worker.device.work import Computed, Work


class ShardAnswer(NamedTuple):
    """The partial sums of one call, and how long it waited and took.

    Joined calls share the computing time by their rows; the rest counts as waiting.
    """

    partial_sums: PartialSums
    queue_ns: int
    compute_ns: int


class Shard:
    """Layers of experts on one device. Streams take turns; waiting calls for one layer are joined.

    Long calls are computed in slices if other streams might wait.
    """

    def __init__(self, layers: tuple[LoadedLayer, ...]) -> None:
        self.hold(layers)
        self._row_ns = 0.0
        """Seconds a row of the last long call."""
        self._turns = DeviceQueue(self._compute, _goes_along, is_long=lambda work: work.is_long)

    def hold(self, layers: tuple[LoadedLayer, ...]) -> None:
        """Use these layers from the next call on."""
        self.layers = layers
        self._native = open_native_answers(layers)

    @property
    def weight_bytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)

    @property
    def waiting(self) -> int:
        """The number of calls that wait for the device."""
        return self._turns.waiting

    def answer_at_once(self, frame: bytes, row_count: int) -> bytes | None:
        """The frame that answers a call's, computed in native code.

        None if the device is not free, or if only Python can compute the call or explain its error.
        """
        native = self._native
        if native is None or not self._turns.try_take():
            return None
        try:
            answer = native.answer(frame)
        finally:
            self._turns.pass_on()
        if answer is not None and row_count > SLICE_ROWS:
            self._row_ns = read_answer(answer).compute_ns / row_count
        return answer

    def answer_inbox(self, inbox: int) -> memoryview | None:
        """Like `answer_at_once`, from an inbox to its socket; returns the rest of the answer.

        inbox: the address of an InboxState, which begins with a call of at most SLICE_ROWS rows.
        """
        native = self._native
        if native is None or not self._turns.try_take():
            return None
        try:
            answered = native.answer_inbox(inbox)
            # Another thread may answer the next call into the same memory.
            return None if answered is None else _unsent(*answered)
        finally:
            self._turns.pass_on()

    def forward(self, call: LayerCall, has_others: Callable[[], bool]) -> ShardAnswer:
        """Raises CallRejectedError for a malformed call and WorkerFaultError for answers out of range.

        has_others: whether other streams called recently, which must not wait for all of a long call.
        """
        asked = time.perf_counter_ns()
        computed = self._turns.take(Work(call, has_others))
        waited = time.perf_counter_ns() - asked - computed.compute_ns
        return ShardAnswer(computed.partial_sums, queue_ns=waited, compute_ns=computed.compute_ns)

    def _compute(self, works: Sequence[Work]) -> Sequence[Computed | BaseException | None]:
        if len(works) == 1:
            return [self._compute_up_to(works[0], works[0].next_end(slice_rows(self._row_ns)))]
        try:
            return self._compute_together([work.call for work in works])
        except Exception:  # computed alone, each call shows whether the fault is its own
            return [self._compute_up_to(work, len(work.call.rows)) for work in works]

    def _compute_together(self, calls: Sequence[LayerCall]) -> list[Computed]:
        started = time.perf_counter_ns()
        sums = self.layers[calls[0].layer].forward(join(calls))
        nanoseconds_a_row = (time.perf_counter_ns() - started) / len(sums.finest)
        return [Computed(part, int(nanoseconds_a_row * len(part.finest))) for part in split(sums, calls)]

    def _compute_up_to(self, work: Work, end: int) -> Computed | BaseException | None:
        """None while there is more to compute."""
        rows = end - work.done
        started = time.perf_counter_ns()
        try:
            work.layer = work.layer or self.layers[work.call.layer]
            part = work.layer.forward(work.next_call(end))
        except Exception as error:
            if rows == len(work.call.rows):
                return _told_of(work.call.layer, error)
            work.compute_ns += time.perf_counter_ns() - started
            work.begin_again()
            return None
        took_ns = time.perf_counter_ns() - started
        if work.is_long:
            self._row_ns = took_ns / rows
        return work.take(part, end, took_ns)


def _unsent(answer: memoryview, sent_bytes: int) -> memoryview:
    return answer[sent_bytes:] if sent_bytes == len(answer) else memoryview(answer[sent_bytes:].tobytes())


def _goes_along(works: Sequence[Work], other: Work) -> bool:
    """Short calls join short ones; long calls join long ones if no other stream waits."""
    if other.is_long != works[0].is_long or not (works[0].is_whole and other.is_whole):
        return False
    return goes_along([work.call for work in works], other.call)


def _told_of(layer: int, error: Exception) -> Exception:
    if isinstance(error, KernelInputError):
        return CallRejectedError(f"layer {layer}: {error}")
    if isinstance(error, OverflowError):
        return WorkerFaultError(f"layer {layer}: {error}")
    return error
