"""The one interface of every backend: load a layer's weights once, then ask for partial sums."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.weights import ExpertWeights

ACTIVATIONS = ("float32", "int8")
"""How rows may be computed with; every backend has the first."""

NO_EXPERT = -1
"""Fills the slots of `expert_ids` that hold no expert of this shard; such a slot costs nothing."""

PREFILL_ROWS_PER_EXPERT = 5
"""From this mean number of rows on, over all experts that a layer's rows picked wherever they are, the rows
count as prefill. Metal's tiles win from there: see METAL.md."""


class ExpertRows(Protocol):
    """What a layer is asked.

    rows: float32, float16 or ml_dtypes.bfloat16 [rows, hidden].
    expert_ids: int32 [rows, slots], model-wide ids, NO_EXPERT where a slot is unused; SLOTS at most.
    router_weights: float32 [rows, slots], finite, without effect where the slot is unused.
    exponents: int8 [rows], of the grids on which the rows' answers are added, see `grid`.
    prefill: whether the layer has PREFILL_ROWS_PER_EXPERT. Backends choose between ways of computing whose
    last bits differ by this alone, since the number of rows asked of one shard depends on placement.
    """

    @property
    def rows(self) -> NDArray[np.generic]: ...
    @property
    def expert_ids(self) -> NDArray[np.int32]: ...
    @property
    def router_weights(self) -> NDArray[np.float32]: ...
    @property
    def exponents(self) -> NDArray[np.int8]: ...
    @property
    def prefill(self) -> bool: ...


@dataclass(frozen=True)
class PartialSums:
    """What a shard adds to each row.

    sums: int32 [rows, hidden], in units of 2^exponent; without meaning where the exponent is below `finest`.
    finest: int8 [rows], the smallest exponent on whose grid the row's answers fit.
    """

    sums: NDArray[np.int32]
    finest: NDArray[np.int8]


class LoadedLayer(Protocol):
    """One layer's experts in the form a backend wants them."""

    @property
    def nbytes(self) -> int:
        """Bytes of weights held."""

    def forward(self, asked: ExpertRows) -> PartialSums:
        """The sum of each row's weighted answers, as `grid` defines it; a row with no expert here is zero.

        An expert's answer for a row depends on both and on `prefill` alone: not on what else is asked, by
        whom or how often. Raises KernelInputError for an id outside the shard, a wrong shape, dtype or
        exponent, or values not finite, and OverflowError where an answer is not finite or too large.
        """


@dataclass(frozen=True)
class NativeLayer:
    """The addresses by which native code calls a layer, in any thread and without the interpreter.

    forward: address of a function like `jangtq_forward` of native/experts.h, which ignores `prefill`.
    pool, layer: its first two arguments, valid as long as the layer lives.
    """

    forward: int
    pool: int
    layer: int
    hidden_size: int


@runtime_checkable
class NativelyAsked(Protocol):
    """A LoadedLayer that native code may ask, too."""

    @property
    def native(self) -> NativeLayer: ...


def native_layer(layer: LoadedLayer) -> NativeLayer | None:
    """None where only Python can ask."""
    return layer.native if isinstance(layer, NativelyAsked) else None


@dataclass(frozen=True)
class KernelCall:
    """One kernel of a layer, with its inputs on the device.

    nbytes: of weights that it reads for one call; 0 for a kernel without weights.
    prepare: makes ready to run it so many times, on the calls in turn; the function returned does so and
        waits once. Runs do not depend on each other: the device may overlap them.
    """

    name: str
    nbytes: int
    prepare: Callable[[int], Callable[[], None]]


@runtime_checkable
class KernelByKernel(Protocol):
    """A LoadedLayer whose kernels may be measured one by one."""

    def kernel_calls(self, calls: Sequence[ExpertRows]) -> tuple[KernelCall, ...]:
        """In the order in which a forward runs them. Each call has an expert, and all have one `prefill`."""


class Backend(Protocol):
    """A way of computing experts on this machine."""

    @property
    def name(self) -> str:
        """`metal`, `cuda`, `cpu` or `reference`."""

    def load(self, weights: ExpertWeights) -> LoadedLayer:
        """Take over one layer's weights; the arrays given may be kept or repacked."""
