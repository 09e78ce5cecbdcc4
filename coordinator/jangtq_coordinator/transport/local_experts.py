"""Experts that the coordinator holds itself, behind the same connection as a worker's."""

import logging
import time
from collections.abc import Callable, Sequence

import psutil

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.extension import Extension, Layers
from jangtq_bundle.loading import check_kernels, load_layers
from jangtq_coordinator.transport.connection import GiveUp, never
from jangtq_coordinator.transport.worker_info import LOCAL, WorkerInfo
from jangtq_kernels.backend import Backend
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.native_answers import NativeAnswers, open_native_answers
from jangtq_proto.errors import CallRejectedError, ClusterError, WorkerFaultError, WorkerUnreachableError
from jangtq_proto.grpc_status import status_number
from jangtq_proto.ranges import ExpertRange, expert_ids
from jangtq_proto.wire.codec import PROTOCOL_VERSION, CallShape, LayerCall, decode_call
from jangtq_proto.wire.frames import answer_frame, failure_frame, read_call

_log = logging.getLogger("jangtq.cluster")


class LocalExperts:
    """Experts held from the start, and those taken over from lost workers within `spare_bytes`."""

    def __init__(
        self, bundle: Bundle, ranges: tuple[ExpertRange, ...], *, device: str, spare_bytes: int
    ) -> None:
        """Loads nothing yet. Raises BundleError for experts that the bundle does not have."""
        bundle.check_experts(expert_ids(ranges))
        self._bundle = bundle
        self._ranges = ranges
        self._spare_bytes = spare_bytes
        self._layers: Layers = ()
        self._extension: Extension | None = None
        self._device = device

    @property
    def spare_bytes(self) -> int:
        """Bytes of experts that may still be taken over."""
        return self._extension.spare_bytes if self._extension else 0

    def load(self, backend: Backend, changed: Callable[[WorkerInfo], object]) -> None:
        """Read the experts held from the start; `changed` is called after later changes."""
        experts = expert_ids(self._ranges)
        self._layers = load_layers(self._bundle, backend, experts) if experts else ()
        if experts:
            _log.info("local experts: %s", check_kernels(self._bundle, experts, self._layers))

        def hold(ranges: tuple[ExpertRange, ...], layers: Layers) -> None:
            before, self._layers = self._ranges, layers
            if ranges != before:
                self._ranges = ranges
                changed(self.describe())

        self._extension = Extension(self._bundle, backend, spare_bytes=self._spare_bytes, held=hold)
        self._extension.begin_with(experts, self._layers)

    def describe(self) -> WorkerInfo:
        """The description that a worker would give of itself."""
        nbytes = self._bundle.expert_nbytes * self._bundle.config.layer_count
        return WorkerInfo(
            name=LOCAL,
            ranges=self._ranges,
            fingerprint=self._bundle.fingerprint,
            protocol_version=PROTOCOL_VERSION,
            device=self._device,
            weight_bytes=nbytes * len(expert_ids(self._ranges)),
            resident_bytes=psutil.Process().memory_info().rss,
            taken_over=self._extension.taken_over if self._extension else (),
        )

    def take_over(self, ranges: Sequence[ExpertRange]) -> None:
        """Start to load more experts. Raises ClusterError."""
        assert self._extension, "experts are loaded first"
        self._extension.take_over(ranges)

    def give_back(self, ranges: Sequence[ExpertRange]) -> None:
        """Drop experts that were taken over. Raises ClusterError."""
        assert self._extension, "experts are loaded first"
        self._extension.give_back(ranges)

    def connection(self) -> "LocalConnection":
        """A connection to the experts held at the time of each call."""
        config = self._bundle.config
        return LocalConnection(lambda: self._layers, CallShape(config.layer_count, config.hidden_size))

    def stop(self) -> None:
        """Stop loading, and drop all experts."""
        if self._extension:
            self._extension.stop()
        self._layers = ()


class LocalConnection:
    """Computes in `receive`, so that workers compute meanwhile."""

    def __init__(self, layers: Callable[[], Layers], shape: CallShape) -> None:
        self._layers = layers
        self._shape = shape
        self._native: NativeAnswers | None = None
        self._of: Layers = ()
        self._calls: dict[int, bytes] = {}

    def send(self, call_id: int, frame: bytes) -> None:
        self._calls[call_id] = frame

    def receive(self, call_id: int, give_up: GiveUp = never) -> bytes:
        frame = self._calls.pop(call_id, None)
        if frame is None:
            raise WorkerUnreachableError("local experts: the call was lost when it was abandoned")
        layers = self._layers()
        if layers is not self._of:
            self._of, self._native = layers, open_native_answers(layers)
        native = None if self._native is None else self._native.answer(frame)
        return native or self._answer(call_id, frame)

    def abandon(self) -> None:
        self._calls.clear()

    def close(self) -> None:
        self.abandon()

    def _answer(self, call_id: int, frame: bytes) -> bytes:
        """In every case, as a worker does: a kernel that fails must cost this call only."""
        try:
            return self._compute(call_id, decode_call(read_call(frame), self._shape))
        except ClusterError as error:
            return failure_frame(call_id, status_number(error), str(error))
        except Exception as error:
            fault = WorkerFaultError(f"{type(error).__name__}: {error}")
            return failure_frame(call_id, status_number(fault), str(fault))

    def _compute(self, call_id: int, call: LayerCall) -> bytes:
        started = time.perf_counter_ns()
        try:
            found = self._of[call.layer].forward(call)
        except KernelInputError as error:
            raise CallRejectedError(f"layer {call.layer}: {error}") from error
        except OverflowError as error:
            raise WorkerFaultError(f"layer {call.layer}: {error}") from error
        compute_ns = time.perf_counter_ns() - started
        return answer_frame(call_id, found.sums, found.finest, queue_ns=0, compute_ns=compute_ns)
