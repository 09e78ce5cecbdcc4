"""Layers that hold different experts, asked as one. Knows no backend."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT, ExpertRows, LoadedLayer, PartialSums
from jangtq_kernels.errors import KernelInputError


@dataclass(frozen=True)
class Piece:
    """A loaded layer, and the model-wide ids of its experts."""

    experts: tuple[int, ...]
    layer: LoadedLayer


@dataclass(frozen=True)
class _Asked:
    rows: NDArray[np.generic]
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]
    exponents: NDArray[np.int8]
    prefill: bool


class CombinedLayer:
    """Sums on a grid are exact, so that the pieces' sums add up to what one layer would answer."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = tuple(pieces)

    @property
    def nbytes(self) -> int:
        return sum(piece.layer.nbytes for piece in self._pieces)

    def forward(self, asked: ExpertRows) -> PartialSums:
        """As LoadedLayer.forward."""
        left = asked.expert_ids != NO_EXPERT
        found: list[PartialSums] = []
        for piece in self._pieces:
            mine = left & np.isin(asked.expert_ids, piece.experts)
            left &= ~mine
            if mine.any():
                found.append(piece.layer.forward(_only(asked, mine)))
        if left.any():
            raise KernelInputError(f"expert {int(asked.expert_ids[left][0])} is not held here")
        return _add(found) if found else self._pieces[0].layer.forward(asked)


def _only(asked: ExpertRows, mine: NDArray[np.bool_]) -> _Asked:
    ids = np.where(mine, asked.expert_ids, np.int32(NO_EXPERT))
    return _Asked(asked.rows, ids, asked.router_weights, asked.exponents, asked.prefill)


def _add(found: Sequence[PartialSums]) -> PartialSums:
    sums, finest = found[0].sums, found[0].finest
    for one in found[1:]:
        sums, finest = sums + one.sums, np.maximum(finest, one.finest)
    return PartialSums(sums, finest)
