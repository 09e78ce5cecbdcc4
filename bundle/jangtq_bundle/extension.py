"""Takes over experts of lost workers, beside those that serve, and drops them again. Knows no wire."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.loading import load_layers, return_free_memory
from jangtq_kernels.backend import Backend, LoadedLayer
from jangtq_kernels.combined import CombinedLayer, Piece
from jangtq_proto.errors import BundleError, CallRejectedError, WorkerBusyError
from jangtq_proto.ranges import ExpertRange, expert_ids, format_ranges, ranges_of

_ASKED_SECONDS = 3.0
"""So long coordinators may take to hear that something was given back."""
_log = logging.getLogger("jangtq.experts")
Layers = tuple[LoadedLayer, ...]


@dataclass(frozen=True, eq=False)
class _Held:
    experts: tuple[int, ...]
    layers: Layers

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)


class Extension:
    """What one process holds from its start, and `spare_bytes` for more.

    After each change `held` gets the ranges held and the layers that answer calls. Thread-safe.
    """

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
        self._pieces: tuple[_Held, ...] = ()
        self._lock = threading.Lock()
        self._change: threading.Thread | None = None
        self._stopped = threading.Event()

    @property
    def spare_bytes(self) -> int:
        """Bytes of experts that may still be taken over."""
        return self._spare_bytes

    @property
    def taken_over(self) -> tuple[ExpertRange, ...]:
        """What is held beside what was held from the start."""
        return _ranges(self._pieces[1:])

    def begin_with(self, experts: tuple[int, ...], layers: Layers) -> None:
        """What was held from the start, which may be nothing."""
        self._pieces = (_Held(experts, layers),)

    def take_over(self, ranges: Sequence[ExpertRange]) -> None:
        """Begin to load experts. Raises CallRejectedError, and WorkerBusyError where there is no room."""
        with self._lock:
            self._check_idle()
            experts = self._check(ranges)
            self._begin(lambda: self._load(experts))

    def give_back(self, ranges: Sequence[ExpertRange]) -> None:
        """Hold no longer what was taken over at once and is all in `ranges`. Raises WorkerBusyError."""
        given = set(expert_ids(ranges))
        with self._lock:
            self._check_idle()
            gone = tuple(piece for piece in self._pieces[1:] if given.issuperset(piece.experts))
            if gone:
                before = self._layers()
                self._pieces = tuple(piece for piece in self._pieces if piece not in gone)
                self._held(_ranges(self._pieces), before)
                given_back, nbytes = format_ranges(_ranges(gone)), sum(piece.nbytes for piece in gone)
                self._begin(lambda: self._drop(given_back, nbytes))

    def stop(self) -> None:
        """Change nothing more."""
        self._stopped.set()
        if self._change is not None:
            self._change.join()

    def _check_idle(self) -> None:
        if self._change is not None and self._change.is_alive():
            raise WorkerBusyError("experts are being taken over already, or given back")

    def _begin(self, change: Callable[[], None]) -> None:
        self._change = threading.Thread(target=change, name="extension", daemon=True)
        self._change.start()

    def _check(self, ranges: Sequence[ExpertRange]) -> tuple[int, ...]:
        last = self._bundle.config.expert_count - 1
        if not ranges or max(held.last for held in ranges) > last:
            raise CallRejectedError(f"experts {format_ranges(ranges)!r}: the model has 0-{last}")
        known = {expert for piece in self._pieces for expert in piece.experts}
        experts = tuple(sorted(set(expert_ids(ranges)) - known))
        needed = self._bundle.expert_nbytes * len(experts) * self._bundle.config.layer_count
        if needed > self._spare_bytes:
            raise WorkerBusyError(
                f"experts {format_ranges(ranges)} take {needed} bytes, {self._spare_bytes} are left for more"
            )
        return experts

    def _load(self, experts: tuple[int, ...]) -> None:
        try:
            layers = load_layers(self._bundle, self._backend, experts, on_layer=self._check_stopped)
        except (BundleError, MemoryError, _Stopped) as error:
            _log.error("experts %s were not taken over: %s", format_ranges(ranges_of(experts)), error)
            return
        piece = _Held(experts, layers)
        self._spare_bytes -= piece.nbytes
        self._pieces += (piece,)
        self._held(_ranges(self._pieces), self._layers())
        _log.info("took over experts %s", format_ranges(ranges_of(experts)))

    def _drop(self, given_back: str, nbytes: int) -> None:
        """Drop experts once no call can ask for them any more."""
        self._stopped.wait(_ASKED_SECONDS)
        self._held(_ranges(self._pieces), self._layers())
        return_free_memory()
        self._spare_bytes += nbytes
        _log.info("gave back experts %s", given_back)

    def _layers(self) -> Layers:
        """Those that answer for everything that is held."""
        pieces = [piece for piece in self._pieces if piece.experts]
        if len(pieces) < 2:
            return pieces[0].layers if pieces else ()
        return tuple(
            CombinedLayer([Piece(piece.experts, piece.layers[number]) for piece in pieces])
            for number in range(self._bundle.config.layer_count)
        )

    def _check_stopped(self, done: int) -> None:
        if self._stopped.is_set():
            raise _Stopped("this process is stopping")


class _Stopped(Exception):
    pass


def _ranges(pieces: Sequence[_Held]) -> tuple[ExpertRange, ...]:
    return ranges_of(expert for piece in pieces for expert in piece.experts)
