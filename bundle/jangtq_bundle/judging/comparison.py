"""Compares a bundle with its original checkpoint: error and gain of each kind of matrix."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.convert.checkpoint import Checkpoint
from jangtq_bundle.vocabulary import ONE_BY_ONE_NAMES, Projection, moe_prefix
from jangtq_kernels.quantization import dequantize
from jangtq_kernels.weights import PackedMatrix


@dataclass(frozen=True)
class ComparedMatrix:
    """One projection of one layer: relative error, and <w, q> / <w, w> in the mean of its rows."""

    name: str
    bits: str
    error: float
    gain: float


def compare_with_source(bundle: Bundle, source: Path, *, rows: int) -> Iterator[ComparedMatrix]:
    """`rows` rows of each expert that is here, layer by layer. Raises BundleError."""
    checkpoint = Checkpoint.open(source)
    experts = [e for e in bundle.holdings.experts if e < bundle.config.original_expert_count]
    for layer in range(bundle.config.layer_count):
        weights = bundle.read_experts(layer, tuple(experts))
        for projection, matrix in zip(Projection, (weights.gate, weights.up, weights.down), strict=True):
            count = min(rows, matrix.out_features)
            ours = dequantize(_first_rows(matrix, count))
            name = ONE_BY_ONE_NAMES[projection]
            prefix = f"{moe_prefix(layer)}.experts"
            theirs = np.stack(
                [checkpoint.values(f"{prefix}.{e}.{name}.weight", end=count) for e in experts]
            ).astype(np.float64)
            yield ComparedMatrix(
                f"layer {layer} {projection}", str(matrix.bits), _error(ours, theirs), _gain(ours, theirs)
            )


def _first_rows(matrix: PackedMatrix, rows: int) -> PackedMatrix:
    return PackedMatrix(
        matrix.codes[:, :rows],
        matrix.norms[:, :rows],
        codebook=matrix.codebook,
        signs=matrix.signs,
        bits=matrix.bits,
    )


def _error(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(ours - theirs) / max(float(np.linalg.norm(theirs)), 1e-30))


def _gain(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    squares = np.vecdot(theirs, theirs)
    return float(np.mean(np.vecdot(ours, theirs)[squares > 0] / squares[squares > 0]))
