"""The packed weights of one layer's experts, as every backend receives them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PackedMatrix:
    """One projection of several experts.

    codes: uint32 [experts, out, words], words = ceil(in / (32 // bits)), bundle packing.
    norms: float16 [experts, out].
    codebook: float32 [2**bits]; signs: float32 [in], each +1 or -1.
    """

    codes: NDArray[np.uint32]
    norms: NDArray[np.float16]
    codebook: NDArray[np.float32]
    signs: NDArray[np.float32]
    bits: int

    @property
    def in_features(self) -> int:
        return int(self.signs.shape[0])

    @property
    def out_features(self) -> int:
        return int(self.codes.shape[1])

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.norms.nbytes


@dataclass(frozen=True)
class ExpertWeights:
    """The experts of one layer that one shard holds; position i of every matrix is expert `expert_ids[i]`."""

    expert_ids: tuple[int, ...]
    gate: PackedMatrix
    up: PackedMatrix
    down: PackedMatrix

    @property
    def hidden_size(self) -> int:
        return self.gate.in_features

    @property
    def intermediate_size(self) -> int:
        return self.down.in_features

    @property
    def nbytes(self) -> int:
        return self.gate.nbytes + self.up.nbytes + self.down.nbytes
