"""What native code takes of a worker's calls, and keeps from Python. Knows no transport."""

import ctypes
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

from jangtq_kernels.backend import LoadedLayer, native_layer
from jangtq_proto.wire.codec import CallShape
from jangtq_worker.native_library import AnswerLibrary, Counts, LayerStruct, answer_library


class Taken(NamedTuple):
    """Calls of native conversations, those not answered yet and all; native calls that compute now."""

    in_flight: int = 0
    total: int = 0
    computing: int = 0


class NativeAdmission:
    """Where native threads may answer calls. `with native:` keeps them off the device, however many enter.

    They take a call only while nobody computes and nobody is inside such a block, so that they overtake
    nobody, and everybody who comes waits for one of their forwards at most.
    """

    def __init__(self, shape: CallShape, library: AnswerLibrary) -> None:
        self._shape = shape
        self.library = library
        self._layers: Sequence[LoadedLayer] = ()
        self.handle: int = library.open_admission(shape.layer_count, shape.hidden_size)
        if not self.handle:
            raise MemoryError("no memory for a admission")

    def serve(self, layers: Sequence[LoadedLayer]) -> None:
        """From now on ask these layers, where they are such that native code may; waits for those before."""
        count = self._shape.layer_count
        structs = (LayerStruct * count)(*map(self._struct, layers[:count]))
        with self:  # or calls without a pause between them might keep the device for ever
            is_served = self.library.serve(self.handle, ctypes.addressof(structs))
        if not is_served:
            raise MemoryError("no memory for layers")
        # Only now nobody computes with those before, which may go.
        self._layers = layers

    def refuse(self) -> None:
        """Take nothing more."""
        self.library.refuse(self.handle)

    def wait_until_free(self) -> None:
        """For the forward that may still run though somebody is inside `with admission:`."""
        if not self.library.is_free(self.handle):
            self.library.wait_until_free(self.handle)

    def taken(self) -> Taken:
        """As of now."""
        counts = Counts()
        self.library.count(self.handle, ctypes.addressof(counts))
        return Taken(counts.in_flight, counts.total, counts.computing)

    def __enter__(self) -> None:
        self.library.want(self.handle)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.library.unwant(self.handle)

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self.library.close_admission(self.handle)

    def _struct(self, layer: LoadedLayer) -> LayerStruct:
        native = native_layer(layer)
        if native is None or native.hidden_size != self._shape.hidden_size:
            return LayerStruct()
        return LayerStruct(native.forward, native.pool, native.layer)


def open_native_admission(shape: CallShape) -> NativeAdmission | None:
    """None where only Python answers."""
    library = answer_library()
    return None if library is None else NativeAdmission(shape, library)
