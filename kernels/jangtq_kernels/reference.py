"""The reference backend: the format's mathematics in NumPy and float64, the oracle of every other backend."""

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT, ExpertRows, PartialSums
from jangtq_kernels.checks import check_rows, check_weights, local_positions, position_table
from jangtq_kernels.grid import finest_exponents, grid_scales, magnitudes_of, to_grid
from jangtq_kernels.packing import unpack
from jangtq_kernels.rotation import rotate
from jangtq_kernels.weights import ExpertWeights, PackedMatrix


class ReferenceBackend:
    """Slow, exact, everywhere."""

    @property
    def name(self) -> str:
        return "reference"

    def load(self, weights: ExpertWeights) -> "ReferenceLayer":
        return ReferenceLayer(weights)


class ReferenceLayer:
    """One layer's experts as stored; a matrix is unpacked whenever an expert is asked for."""

    def __init__(self, weights: ExpertWeights) -> None:
        check_weights(weights)
        self._weights = weights
        self._positions = position_table(weights.expert_ids)

    @property
    def nbytes(self) -> int:
        return self._weights.nbytes

    def forward(self, asked: ExpertRows) -> PartialSums:
        """As LoadedLayer.forward; an answer is computed in float64 and rounded to float32 once."""
        weights = self._weights
        check_rows(asked, hidden_size=weights.hidden_size)
        positions = local_positions(asked.expert_ids, self._positions)
        rotated = rotate(asked.rows.astype(np.float64), weights.gate.signs)
        scales = grid_scales(asked.exponents)
        sums = np.zeros((len(rotated), weights.hidden_size), dtype=np.int32)
        magnitudes = np.zeros(len(rotated), dtype=np.uint32)
        for position in np.unique(positions[positions != NO_EXPERT]).tolist():
            row, slot = np.nonzero(positions == position)
            answers = asked.router_weights[row, slot][:, None] * expert_forward(
                weights, position, rotated[row]
            )
            with np.errstate(over="ignore"):
                weighted = answers.astype(np.float32)
            np.maximum.at(magnitudes, row, magnitudes_of(weighted))
            np.add.at(sums, row, to_grid(weighted, scales[row]))
        return PartialSums(sums, finest_exponents(magnitudes))


def expert_forward(
    weights: ExpertWeights, position: int, rotated: NDArray[np.float64]
) -> NDArray[np.float64]:
    """down(silu(gate(x)) * up(x)) of one expert, [rows, hidden] from rotated rows [rows, hidden]."""
    return _multiply(weights.down, position, rotate(gate_up(weights, position, rotated), weights.down.signs))


def gate_up(weights: ExpertWeights, position: int, rotated: NDArray[np.float64]) -> NDArray[np.float64]:
    """silu(gate(x)) * up(x) of one expert, [rows, intermediate] from rotated rows [rows, hidden]."""
    gate = _multiply(weights.gate, position, rotated)
    return silu(gate) * _multiply(weights.up, position, rotated)


def silu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """x * sigmoid(x), without overflow for large negative x."""
    return x * (0.5 * (1.0 + np.tanh(0.5 * x)))


def _multiply(matrix: PackedMatrix, position: int, rotated: NDArray[np.float64]) -> NDArray[np.float64]:
    """y[r] = norm[r] * sum_i rotated[i] * codebook[code[r, i]]."""
    codes = unpack(matrix.codes[position], matrix.bits, matrix.in_features)
    dense = matrix.codebook.astype(np.float64)[codes]
    # Sum by sum: a product of matrices would add in an order that depends on the number of rows.
    products = np.vecdot(rotated[:, None], dense)
    result: NDArray[np.float64] = products * matrix.norms[position].astype(np.float64)
    return result
