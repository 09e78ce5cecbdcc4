"""Experts that the coordinator holds itself, behind the same connection as a worker's."""

import itertools
import logging
import time
from collections.abc import Callable, Sequence

import psutil

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.extension import Extension, Layers
from jangtq_bundle.loading import check_kernels, load_layers
from jangtq_coordinator.transport.connection import GiveUp, LayerAnswer, never
from jangtq_coordinator.transport.worker_info import LOCAL, WorkerInfo
from jangtq_kernels.backend import Backend
from jangtq_kernels.errors import KernelInputError
from jangtq_proto.errors import CallRejectedError, WorkerFaultError, WorkerUnreachableError
from jangtq_proto.ranges import ExpertRange, expert_ids
from jangtq_proto.wire.codec import PROTOCOL_VERSION, LayerCall

_log = logging.getLogger("jangtq.cluster")


class LocalExperts:
    """What is held here from the start, and what is taken over of lost workers within `spare_bytes`."""

    def __init__(
        self, bundle: Bundle, ranges: tuple[ExpertRange, ...], *, device: str, spare_bytes: int
    ) -> None:
        """Loads nothing yet. Raises BundleError for experts that the bundle has not."""
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
        """Read what is held from the start; `changed` hears of what is taken over and given back later."""
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
        """As a worker would of itself."""
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
        """Begin to load more experts. Raises ClusterError."""
        assert self._extension, "experts are loaded first"
        self._extension.take_over(ranges)

    def give_back(self, ranges: Sequence[ExpertRange]) -> None:
        """Let go of what was taken over. Raises ClusterError."""
        assert self._extension, "experts are loaded first"
        self._extension.give_back(ranges)

    def connection(self) -> "LocalConnection":
        """The way to them, whatever they are at the time of a call."""
        return LocalConnection(lambda: self._layers)

    def stop(self) -> None:
        """Load nothing more, and let go of everything."""
        if self._extension:
            self._extension.stop()
        self._layers = ()


class LocalConnection:
    """Computes in `receive`, so that workers compute meanwhile."""

    def __init__(self, layers: Callable[[], Layers]) -> None:
        self._layers = layers
        self._ids = itertools.count(1)
        self._calls: dict[int, LayerCall] = {}

    def send(self, call: LayerCall) -> int:
        call_id = next(self._ids)
        self._calls[call_id] = call
        return call_id

    def receive(self, call_id: int, give_up: GiveUp = never) -> LayerAnswer:
        call = self._calls.pop(call_id, None)
        if call is None:
            raise WorkerUnreachableError(
                "local experts: the call was given up when what is held here changed"
            )
        started = time.perf_counter_ns()
        try:
            found = self._layers()[call.layer].forward(call)
        except KernelInputError as error:
            raise CallRejectedError(f"layer {call.layer}, local experts: {error}") from error
        except OverflowError as error:
            raise WorkerFaultError(f"layer {call.layer}, local experts: {error}") from error
        compute_ns = time.perf_counter_ns() - started
        return LayerAnswer(found.sums, found.finest, queue_ns=0, compute_ns=compute_ns)

    def abandon(self) -> None:
        self._calls.clear()

    def close(self) -> None:
        self.abandon()
