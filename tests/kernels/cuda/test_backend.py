"""What the CUDA backend promises beyond the contract: one order of every sum, and what it refuses."""

import dataclasses

import numpy as np
import pytest

from jangtq_kernels.backend import native_layer
from jangtq_kernels.cuda.backend import CudaBackend, Toolkit
from jangtq_kernels.errors import BackendMissingError, KernelInputError
from tests.support.cuda_simulator import SimulatedCompiler, simulated_toolkit
from tests.support.kernel_backends import Asked, backend, dense_forward, relative_error, sums_of
from tests.support.metal_cases import random_layer, random_rows


@pytest.mark.parametrize("bits", [(2, 2), (3, 4)])
def test_a_row_is_the_same_to_the_bit_alone_and_among_many(bits: tuple[int, int]) -> None:
    """More than 8 rows an expert take other kernels than few; `prefill` chooses nothing."""
    layer = backend("cuda").load(random_layer(400, 136, experts=2, bits=bits))
    values, ids, router_weights = random_rows(19, 400, experts=2)
    exponents = np.full(19, -20, dtype=np.int8)
    whole = layer.forward(Asked(values, ids, router_weights, exponents, prefill=True))
    for row in (0, 7, 18):
        one = slice(row, row + 1)
        alone = layer.forward(Asked(values[one], ids[one], router_weights[one], exponents[one]))
        assert np.array_equal(alone.sums, whole.sums[one])
        assert np.array_equal(alone.finest, whole.finest[one])


@pytest.mark.parametrize(("hidden", "intermediate"), [(6144, 16), (16, 3100)])
def test_rows_of_more_segments_than_a_block_has_warps(hidden: int, intermediate: int) -> None:
    weights = random_layer(hidden, intermediate, experts=1)
    request = random_rows(2, hidden, experts=1, slots=1)
    assert (
        relative_error(sums_of(backend("cuda").load(weights), *request), dense_forward(weights, request))
        < 1e-5
    )


def test_the_order_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = CudaBackend(simulated_toolkit()).load(random_layer(200, 136, bits=(4, 3)))
    few, many = random_rows(2, 200), random_rows(24, 200)
    forwards = [sums_of(layer, *request) for request in (few, many)]
    monkeypatch.setenv("CUDA_SIMULATOR_BACKWARDS", "1")
    for request, expected in zip((few, many), forwards, strict=True):
        assert np.array_equal(sums_of(layer, *request), expected)


def test_native_code_may_ask_a_layer() -> None:
    layer = backend("cuda").load(random_layer(128, 64))
    found = native_layer(layer)
    assert found is not None
    assert found.hidden_size == 128


def test_answers_that_are_not_finite_are_refused() -> None:
    values, ids, router_weights = random_rows(2, 128)
    layer = backend("cuda").load(random_layer(128, 64))
    with pytest.raises(OverflowError, match="not finite"):
        sums_of(layer, values * np.float32(1e30), ids, router_weights)


def test_gate_and_up_must_share_their_rotation() -> None:
    weights = random_layer(128, 64)
    turned = dataclasses.replace(weights.up, signs=-weights.up.signs)
    with pytest.raises(KernelInputError, match="must share bits, codebook and signs"):
        backend("cuda").load(dataclasses.replace(weights, up=turned))


def test_a_size_the_kernels_cannot_take_is_refused() -> None:
    with pytest.raises(KernelInputError, match="hidden size 8224 is above 8192"):
        backend("cuda").load(random_layer(8224, 32, experts=1))


def test_without_a_driver_the_backend_is_missing() -> None:
    toolkit = Toolkit(compiler=SimulatedCompiler(), driver="libnone.so.1")
    with pytest.raises(BackendMissingError, match="device cuda: no NVIDIA driver: libnone.so.1"):
        CudaBackend(toolkit)
