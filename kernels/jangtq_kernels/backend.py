"""The one interface of every backend: load a layer's weights once, then ask for partial sums."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.weights import ExpertWeights

ACTIVATIONS = ("float32", "int8")
"""How rows may be computed with; every backend has the first."""

NO_EXPERT = -1
"""Fills the slots of `expert_ids` that hold no expert of this shard; such a slot costs nothing."""


class LoadedLayer(Protocol):
    """One layer's experts in the form a backend wants them."""

    @property
    def nbytes(self) -> int:
        """Bytes of weights held."""

    def forward(
        self,
        rows: NDArray[np.generic],
        expert_ids: NDArray[np.int32],
        router_weights: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Weighted sum of the shard's experts for each row.

        rows: float32, float16 or ml_dtypes.bfloat16 [rows, hidden].
        expert_ids: int32 [rows, slots], model-wide ids, NO_EXPERT where a slot is unused.
        router_weights: float32 [rows, slots], finite, without effect where the slot is unused.
        Returns float32 [rows, hidden]; a row with no expert here is zero.
        Raises KernelInputError for an id outside the shard, a wrong shape or dtype, or values not finite.
        """


class Backend(Protocol):
    """A way of computing experts on this machine."""

    @property
    def name(self) -> str:
        """`metal`, `cpu` or `reference`."""

    def load(self, weights: ExpertWeights) -> LoadedLayer:
        """Take over one layer's weights; the arrays given may be kept or repacked."""
