"""Reads every byte of a bundle and checks hashes and norms; with the source, the error of each matrix."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.vocabulary import Projection
from jangtq_kernels.weights import PackedMatrix
from jangtq_proto.errors import BundleError


@dataclass(frozen=True)
class LayerFinding:
    """What one projection of a layer looks like: norms, and how many rows are all zero."""

    layer: int
    projection: Projection
    least_norm: float
    largest_norm: float
    zero_rows: int


def verify_experts(bundle: Bundle) -> Iterator[LayerFinding]:
    """Read all experts that are here, against the hashes where there are any.

    Raises BundleError for the first fault: bytes that changed, a norm that is negative or no number.
    """
    for layer in range(bundle.config.layer_count):
        weights = bundle.read_experts(layer, bundle.holdings.experts)
        for projection, matrix in zip(Projection, (weights.gate, weights.up, weights.down), strict=True):
            yield _judge(layer, projection, matrix, bundle.holdings.experts)


def _judge(
    layer: int, projection: Projection, matrix: PackedMatrix, experts: tuple[int, ...]
) -> LayerFinding:
    norms = matrix.norms.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(norms) | (norms < 0))
    if len(wrong):
        place, row = wrong[0]
        raise BundleError(
            f"layer {layer}, expert {experts[place]}, {projection}: the norm of row {row} is "
            f"{norms[place, row]}, expected a number of 0 or more"
        )
    zero = int(np.count_nonzero(norms == 0))
    return LayerFinding(layer, projection, float(norms.min()), float(norms.max()), zero)
