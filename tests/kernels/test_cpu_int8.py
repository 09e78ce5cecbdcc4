"""Int8 activations: equal to the same rounding done in NumPy, asked for by name, and refused where absent."""

import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT
from jangtq_kernels.backends import open_backend
from jangtq_kernels.cpu import CpuBackend
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.packing import codes_per_word, unpack
from jangtq_kernels.reference import silu
from jangtq_kernels.rotation import rotate
from jangtq_kernels.weights import ExpertWeights, PackedMatrix
from tests.support.kernel_backends import INT8_NAMES, Request, backend, dense_forward, relative_error, sums_of
from tests.support.metal_cases import random_layer, random_rows

GROUP_WORDS = 8
LEVELS = 127


def round_to_levels(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """To the nearest of LEVELS steps between 0 and the largest magnitude of the last axis."""
    unit = np.abs(values).max(axis=-1, keepdims=True) / LEVELS
    rounded: NDArray[np.float64] = np.round(values / np.where(unit > 0, unit, 1)) * unit
    return rounded


def multiply_rounded(matrix: PackedMatrix, position: int, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The product of one expert with rows rounded in groups of GROUP_WORDS words and a rounded codebook."""
    rotated = rotate(rows, matrix.signs)
    group = GROUP_WORDS * codes_per_word(matrix.bits)
    for first in range(0, matrix.in_features, group):
        rotated[:, first : first + group] = round_to_levels(rotated[:, first : first + group])
    codebook = round_to_levels(matrix.codebook.astype(np.float64))
    dense = codebook[unpack(matrix.codes[position], matrix.bits, matrix.in_features)]
    product: NDArray[np.float64] = rotated @ dense.T * matrix.norms[position].astype(np.float64)
    return product


def rounded_forward(weights: ExpertWeights, request: Request) -> NDArray[np.float64]:
    """The sums that int8 activations should give."""
    rows, expert_ids, router_weights = request
    sums = np.zeros(rows.shape)
    for position, expert in enumerate(weights.expert_ids):
        row, slot = np.nonzero((expert_ids == expert) & (expert_ids != NO_EXPERT))
        x = rows[row].astype(np.float64)
        gate, up = (multiply_rounded(m, position, x) for m in (weights.gate, weights.up))
        answers = multiply_rounded(weights.down, position, silu(gate) * up)
        np.add.at(sums, row, router_weights[row, slot].astype(np.float64)[:, None] * answers)
    return sums


@pytest.mark.parametrize("name", INT8_NAMES)
@pytest.mark.parametrize("bits", [(2, 2), (3, 3), (4, 4), (2, 4)])
@pytest.mark.parametrize(("hidden", "intermediate", "rows"), [(256, 128, 1), (330, 217, 7), (512, 384, 60)])
def test_sums_are_those_of_the_same_rounding(
    name: str, bits: tuple[int, int], hidden: int, intermediate: int, rows: int
) -> None:
    weights = random_layer(hidden, intermediate, bits=bits)
    request = random_rows(rows, hidden)
    got = sums_of(backend(name).load(weights), *request)
    # A value near the middle of two steps may go either way in float32: far less than the rounding itself.
    assert relative_error(got, rounded_forward(weights, request)) <= 1e-3
    assert 1e-3 <= relative_error(got, dense_forward(weights, request)) <= 3e-2


@pytest.mark.parametrize("name", INT8_NAMES)
@pytest.mark.parametrize("scale", [1e-36, 1e-3, 1e6])
def test_steps_follow_the_size_of_the_rows(name: str, scale: float) -> None:
    weights = random_layer(256, 128)
    rows, ids, router_weights = random_rows(3, 256)
    sums = sums_of(backend(name).load(weights), rows * np.float32(scale), ids, router_weights)
    expected = dense_forward(weights, (rows * np.float32(scale), ids, router_weights))
    assert np.linalg.norm(sums - expected) <= 3e-2 * np.linalg.norm(expected) + 1e-37


def test_int8_is_asked_for_by_name() -> None:
    weights = random_layer(256, 128)
    request = random_rows(2, 256)
    chosen = sums_of(open_backend("cpu", threads=1, activations="int8").load(weights), *request)
    usual = sums_of(open_backend("cpu", threads=1).load(weights), *request)
    np.testing.assert_array_equal(chosen, sums_of(CpuBackend(1, activations="int8").load(weights), *request))
    assert relative_error(usual, dense_forward(weights, request)) <= 1e-5
    assert not np.array_equal(chosen, usual)
    assert open_backend("auto", threads=1, activations="int8").name == "cpu"


@pytest.mark.parametrize("device", ["metal", "reference"])
def test_other_devices_refuse_int8(device: str) -> None:
    with pytest.raises(KernelInputError, match=f"activations 'int8': device {device} computes in float32"):
        open_backend(device, activations="int8")


@pytest.mark.parametrize("device", ["auto", "cpu", "metal"])
def test_unknown_activations_are_refused(device: str) -> None:
    with pytest.raises(KernelInputError, match="activations 'int4': allowed are float32, int8"):
        open_backend(device, activations="int4")
