"""The progress of one call over its turns. Decides how much of it is computed next."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from jangtq_kernels.backend import LoadedLayer, PartialSums
from jangtq_proto.wire.codec import LayerCall
from jangtq_worker.device.chunks import cut, is_long, put_together, slice_end


class Computed(NamedTuple):
    """The partial sums of one call, and how long the device took for it."""

    partial_sums: PartialSums
    compute_ns: int


@dataclass(slots=True, eq=False)
class Work:
    """A call that is not answered yet.

    has_others: whether other streams called recently, which must not wait for all of a long call.
    layer: the layer that computes every slice of the call.
    """

    call: LayerCall
    has_others: Callable[[], bool]
    layer: LoadedLayer | None = None
    parts: list[PartialSums] = field(default_factory=list)
    done: int = 0
    compute_ns: int = 0
    _is_refused_in_part: bool = False

    @property
    def is_long(self) -> bool:
        return is_long(self.call)

    @property
    def gives_way(self) -> bool:
        """Whether other calls get turns before all of it is computed."""
        return self.is_long and not self._is_refused_in_part and self.has_others()

    @property
    def is_whole(self) -> bool:
        """Whether all of it may be computed at once, even joined with others."""
        return self.done == 0 and not self.gives_way

    def next_end(self, most_rows: int) -> int:
        """The end of the next rows to compute: all, or a slice if it gives way."""
        rows = len(self.call.rows)
        return slice_end(self.done, rows, most_rows) if self.gives_way else rows

    def next_call(self, end: int) -> LayerCall:
        """The call for the rows from the first open one to before `end`."""
        return self.call if end - self.done == len(self.call.rows) else cut(self.call, self.done, end)

    def take(self, part: PartialSums, end: int, took_ns: int) -> Computed | None:
        """Add the answer for the rows up to `end`; returns the whole answer once it is complete."""
        self.parts.append(part)
        self.done = end
        self.compute_ns += took_ns
        is_all = end == len(self.call.rows)
        return Computed(put_together(self.parts), self.compute_ns) if is_all else None

    def begin_again(self) -> None:
        """Start again with the whole call, so that an error is that of the whole call."""
        self._is_refused_in_part = True
        self.done = 0
        self.parts.clear()
