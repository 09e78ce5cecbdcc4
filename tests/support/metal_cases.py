"""Random layers for the Metal tests, and the Metal of this machine: its own or the simulator's."""

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.metal._common import KernelFactory
from jangtq_kernels.metal.backend import MetalBackend
from jangtq_kernels.rotation import generate_signs
from jangtq_kernels.weights import ExpertWeights, PackedMatrix
from tests.support.metal_simulator import MetalSimulator

FIRST_EXPERT = 100
"""Model-wide id of position 0, so that ids and positions cannot be confused unnoticed."""


def metal_kernel() -> KernelFactory:
    if mx.metal.is_available():
        native: KernelFactory = mx.fast.metal_kernel  # type: ignore[assignment]
        return native
    return MetalSimulator().metal_kernel


def metal_backend() -> MetalBackend:
    return MetalBackend() if mx.metal.is_available() else MetalBackend(MetalSimulator().metal_kernel)


def pack_codes(codes: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    """[..., in] to [..., words], code i at bit (i mod per word) * bits."""
    per_word = 32 // bits
    missing = -codes.shape[-1] % per_word
    padded = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, missing)])
    shifts = np.arange(per_word, dtype=np.uint32) * np.uint32(bits)
    words: NDArray[np.uint32] = np.bitwise_or.reduce(
        padded.reshape(*codes.shape[:-1], -1, per_word) << shifts, axis=-1
    )
    return words


def random_matrix(
    rng: np.random.Generator, shape: tuple[int, int, int], bits: int, *, seed: int = 42
) -> PackedMatrix:
    """shape: experts, out, in."""
    codes = rng.integers(0, 2**bits, shape, dtype=np.uint32)
    norms = rng.uniform(0.5, 1.5, shape[:2]).astype(np.float16)
    return PackedMatrix(
        pack_codes(codes, bits), norms, compute_codebook(shape[2], bits), generate_signs(shape[2], seed), bits
    )


def random_layer(
    hidden: int, intermediate: int, *, experts: int = 4, bits: tuple[int, int] = (2, 2)
) -> ExpertWeights:
    """bits: of gate and up, of down."""
    rng = np.random.default_rng(hidden + intermediate)
    return ExpertWeights(
        expert_ids=tuple(range(FIRST_EXPERT, FIRST_EXPERT + experts)),
        gate=random_matrix(rng, (experts, intermediate, hidden), bits[0]),
        up=random_matrix(rng, (experts, intermediate, hidden), bits[0]),
        down=random_matrix(rng, (experts, hidden, intermediate), bits[1]),
    )


def random_rows(
    rows: int, hidden: int, *, experts: int = 4, slots: int = 2
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Rows, ids of different experts for each row and router weights."""
    rng = np.random.default_rng(rows + hidden)
    ids = np.argsort(rng.random((rows, experts)), axis=1)[:, :slots] + FIRST_EXPERT
    return (
        rng.standard_normal((rows, hidden), dtype=np.float32),
        ids.astype(np.int32),
        rng.random((rows, slots), dtype=np.float32),
    )
