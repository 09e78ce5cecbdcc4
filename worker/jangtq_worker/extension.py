"""Takes over experts of lost workers: loads them beside those that serve. Knows no wire."""

import logging
import threading
from collections.abc import Callable, Sequence

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.loading import load_layers
from jangtq_kernels.backend import Backend, LoadedLayer
from jangtq_kernels.combined import CombinedLayer, Piece
from jangtq_proto.errors import BundleError, CallRejectedError, WorkerBusyError
from jangtq_proto.ranges import ExpertRange, expert_ids, format_ranges, ranges_of

_log = logging.getLogger("jangtq.worker")
Layers = tuple[LoadedLayer, ...]


class Extension:
    """`held` is told what is held from now on, in a thread of its own. Thread-safe."""

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        spare_bytes: int,
        held: Callable[[tuple[ExpertRange, ...], Layers], None],
    ) -> None:
        self._bundle = bundle
        self._backend = backend
        self._spare_bytes = spare_bytes
        self._held = held
        self._pieces: list[tuple[tuple[int, ...], Layers]] = []
        self._lock = threading.Lock()
        self._loading: threading.Thread | None = None
        self._stopped = threading.Event()

    @property
    def spare_bytes(self) -> int:
        """Bytes of experts that may still be taken over."""
        return self._spare_bytes

    def begin_with(self, experts: tuple[int, ...], layers: Layers) -> None:
        """What was held from the start."""
        self._pieces = [(experts, layers)]

    def take_over(self, ranges: Sequence[ExpertRange]) -> None:
        """Begin to load experts. Raises CallRejectedError, and WorkerBusyError where there is no room."""
        with self._lock:
            if self._loading is not None and self._loading.is_alive():
                raise WorkerBusyError("this worker is taking over experts already")
            experts = self._check(ranges)
            self._loading = threading.Thread(target=self._load, args=(experts,), daemon=True)
            self._loading.start()

    def stop(self) -> None:
        """Load nothing more."""
        self._stopped.set()
        if self._loading is not None:
            self._loading.join()

    def _check(self, ranges: Sequence[ExpertRange]) -> tuple[int, ...]:
        last = self._bundle.config.expert_count - 1
        if not ranges or max(held.last for held in ranges) > last:
            raise CallRejectedError(f"experts {format_ranges(ranges)!r}: the model has 0-{last}")
        known = {expert for experts, _ in self._pieces for expert in experts}
        experts = tuple(sorted(set(expert_ids(ranges)) - known))
        needed = self._bundle.expert_nbytes * len(experts) * self._bundle.config.layer_count
        if needed > self._spare_bytes:
            raise WorkerBusyError(
                f"experts {format_ranges(ranges)} take {needed} bytes, this worker may take over "
                f"{self._spare_bytes} more"
            )
        return experts

    def _load(self, experts: tuple[int, ...]) -> None:
        try:
            layers = load_layers(self._bundle, self._backend, experts, on_layer=self._check_stopped)
        except (BundleError, MemoryError, _Stopped) as error:
            _log.error("experts %s were not taken over: %s", format_ranges(ranges_of(experts)), error)
            return
        self._spare_bytes -= sum(layer.nbytes for layer in layers)
        self._pieces.append((experts, layers))
        ranges = ranges_of(expert for held, _ in self._pieces for expert in held)
        self._held(ranges, tuple(self._combine(number) for number in range(len(layers))))
        taken = format_ranges(ranges_of(experts))
        _log.info("took over experts %s, holding %s now", taken, format_ranges(ranges))

    def _combine(self, number: int) -> CombinedLayer:
        return CombinedLayer([Piece(experts, layers[number]) for experts, layers in self._pieces])

    def _check_stopped(self, done: int) -> None:
        if self._stopped.is_set():
            raise _Stopped("this worker is stopping")


class _Stopped(Exception):
    pass
