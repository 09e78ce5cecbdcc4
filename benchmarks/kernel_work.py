"""The work that benchmarks/kernels.py times: a shard's layer of MiniMax-M2.7, and MLX's affine 2-bit peer."""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import PREFILL_ROWS_PER_EXPERT
from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.packing import codes_per_word
from jangtq_kernels.rotation import generate_signs
from jangtq_kernels.weights import ExpertWeights, PackedMatrix

HIDDEN, INTERMEDIATE, TOP, BITS = 3072, 1536, 8, 2
EXPERTS = 64
"""One worker of four; 226 MB of codes, so that experts asked for in turn come from memory."""
WEIGHTS_OF_EXPERT = 3 * HIDDEN * INTERMEDIATE

_random = np.random.default_rng(42)


@dataclass(frozen=True)
class Request:
    """What LoadedLayer.forward takes."""

    rows: NDArray[np.generic]
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]
    exponents: NDArray[np.int8]
    prefill: bool


def random_matrix(experts: int, out: int, in_features: int, *, bits: int = BITS) -> PackedMatrix:
    """Codes of uniform bits: their values do not change what a kernel does."""
    words = -(-in_features // codes_per_word(bits))
    codes = _random.integers(0, 2**32, (experts, out, words), dtype=np.uint32)
    norms = _random.uniform(0.5, 1.5, (experts, out)).astype(np.float16)
    return PackedMatrix(
        codes, norms, compute_codebook(in_features, bits), generate_signs(in_features, 42), bits
    )


def random_layer(
    experts: int, *, hidden: int = HIDDEN, intermediate: int = INTERMEDIATE, bits: int = BITS
) -> ExpertWeights:
    """Experts 0 to experts - 1."""
    return ExpertWeights(
        expert_ids=tuple(range(experts)),
        gate=random_matrix(experts, intermediate, hidden, bits=bits),
        up=random_matrix(experts, intermediate, hidden, bits=bits),
        down=random_matrix(experts, hidden, intermediate, bits=bits),
    )


def random_request(rows: int, turn: int, *, hidden: int = HIDDEN, experts: int = EXPERTS) -> Request:
    """One row takes the next TOP experts, so that none is still in cache; several choose at random."""
    top = min(TOP, experts)
    ids = np.argsort(_random.random((rows, experts)), axis=1)[:, :top]
    if rows == 1:
        ids = (np.arange(top)[None] + turn * top) % experts
    return Request(
        rows=_random.standard_normal((rows, hidden), dtype=np.float32),
        expert_ids=np.ascontiguousarray(ids, dtype=np.int32),
        router_weights=np.full((rows, top), 1 / top, dtype=np.float32),
        exponents=np.full(rows, -18, dtype=np.int8),
        prefill=rows * top >= PREFILL_ROWS_PER_EXPERT * experts,
    )


class AffinePeer:
    """The same layer as MLX holds it in affine 2-bit, groups of 64, computed in float32."""

    def __init__(self) -> None:
        self._gate = _affine(INTERMEDIATE, HIDDEN)
        self._up = _affine(INTERMEDIATE, HIDDEN)
        self._down = _affine(HIDDEN, INTERMEDIATE)

    def forward(self, request: Request) -> None:
        rows = mx.expand_dims(mx.array(request.rows), (-2, -3))
        ids = mx.array(request.expert_ids)
        gate, up = _gather(rows, self._gate, ids), _gather(rows, self._up, ids)
        answers = _gather(gate * mx.sigmoid(gate) * up, self._down, ids).squeeze(-2)
        mx.eval((answers * mx.array(request.router_weights)[..., None]).sum(axis=-2))


def _affine(out: int, in_features: int) -> tuple[mx.array, mx.array, mx.array]:
    codes = _random.integers(0, 2**32, (EXPERTS, out, in_features // 16), dtype=np.uint32)
    scales = mx.full((EXPERTS, out, in_features // 64), 0.01)
    parts = mx.array(codes), scales, -scales
    mx.eval(parts)
    return parts


def _gather(rows: mx.array, parts: tuple[mx.array, mx.array, mx.array], ids: mx.array) -> mx.array:
    codes, scales, biases = parts
    return mx.gather_qmm(
        rows, codes, scales, biases, rhs_indices=ids, transpose=True, group_size=64, bits=BITS
    )
