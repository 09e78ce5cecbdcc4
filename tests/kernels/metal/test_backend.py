"""The Metal backend against the float64 reference, and what it promises beyond the numbers."""

import dataclasses
import sys
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT
from jangtq_kernels.errors import BackendMissingError, KernelInputError
from jangtq_kernels.metal.backend import MetalBackend
from jangtq_kernels.metal.routing import choose_tile_rows
from jangtq_kernels.reference import ReferenceBackend
from jangtq_kernels.weights import ExpertWeights
from tests.support.kernel_backends import Asked, sums_of
from tests.support.metal_cases import FIRST_EXPERT, metal_backend, random_layer, random_rows
from tests.support.metal_simulator import MetalSimulator
from tests.support.products import part, product

simulated_only = pytest.mark.skipif(sys.platform == "darwin", reason="asks the simulator what it ran")

DECODE = ["rotate_rows", "gate_up_decode", "rotate_rows", "down_decode", "combine_pairs"]
PREFILL = ["rotate_rows", "gate_up_prefill", "rotate_rows", "down_prefill", "combine_pairs"]

Request = tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]


def relative_error(weights: ExpertWeights, request: Request) -> float:
    got = sums_of(metal_backend().load(weights), *request)
    expected = sums_of(ReferenceBackend().load(weights), *request)
    return float(np.abs(got - expected).max() / np.abs(expected).max())


BITS = [(2, 2), (3, 3), (4, 4), (2, 4), (4, 3)]


@pytest.mark.parametrize(("bits", "rows"), product(BITS, [1, 5, 40]))
def test_decode_and_prefill_equal_the_reference(bits: tuple[int, int], rows: int) -> None:
    assert relative_error(random_layer(200, 136, bits=bits), random_rows(rows, 200)) < 1e-5


@pytest.mark.parametrize("rows", part([1], whole=[1, 9]))
def test_the_sizes_of_minimax(rows: int) -> None:
    weights = random_layer(3072, 1536, experts=2)
    assert relative_error(weights, random_rows(rows, 3072, experts=2)) < 1e-5


# Of 70 rows for two experts, some tiles are whole and some are not, as of 512.
ENDS = [(6144, 96, 1), (128, 6144, 3), (320, 200, part(70, whole=512))]


@pytest.mark.parametrize(("hidden", "intermediate", "rows"), ENDS)
def test_sizes_and_batches_at_the_ends_of_their_ranges(hidden: int, intermediate: int, rows: int) -> None:
    weights = random_layer(hidden, intermediate, experts=2, bits=(3, 4))
    assert relative_error(weights, random_rows(rows, hidden, experts=2)) < 1e-5


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_a_row_may_name_an_expert_twice(rows: int) -> None:
    values, ids, router_weights = random_rows(rows, 128, slots=3)
    ids[:, 2] = ids[:, 0]
    assert relative_error(random_layer(128, 64), (values, ids, router_weights)) < 1e-5


@pytest.mark.parametrize("rows", [1, 40])
def test_words_that_are_no_numbers_as_floats(rows: int) -> None:
    """The kernels compare words as floats; codes of all ones make every word a NaN."""
    weights = random_layer(128, 64)
    ones = np.full_like(weights.gate.codes, 0xFFFFFFFF)
    infinities = np.full_like(weights.up.codes, 0x000000FF)
    weights = dataclasses.replace(
        weights,
        gate=dataclasses.replace(weights.gate, codes=ones),
        up=dataclasses.replace(weights.up, codes=infinities),
    )
    assert relative_error(weights, random_rows(rows, 128)) < 1e-5


@pytest.mark.parametrize("rows", [3, 40])
def test_unused_slots_and_rows_without_experts(rows: int) -> None:
    weights = random_layer(128, 64)
    values, ids, router_weights = random_rows(rows, 128, slots=3)
    ids[1] = NO_EXPERT
    ids[::2, 0] = NO_EXPERT
    expected = sums_of(ReferenceBackend().load(weights), values, ids, router_weights)
    router_weights[ids == NO_EXPERT] = 1e30
    out = sums_of(metal_backend().load(weights), values, ids, router_weights)
    assert not out[1].any()
    assert np.abs(out - expected).max() < 1e-5 * np.abs(expected).max()


def test_no_rows_and_no_experts_at_all() -> None:
    layer = metal_backend().load(random_layer(128, 64))
    values, ids, router_weights = random_rows(3, 128)
    assert sums_of(layer, values[:0], ids[:0], router_weights[:0]).shape == (0, 128)
    assert not sums_of(layer, values, np.full_like(ids, NO_EXPERT), router_weights).any()


@simulated_only
def test_slots_that_hold_no_expert_start_no_threads() -> None:
    simulator = MetalSimulator()
    layer = MetalBackend(simulator.metal_kernel).load(random_layer(128, 64))
    simulator.dispatches.clear()
    values, ids, router_weights = random_rows(3, 128)
    sums_of(layer, values, np.full_like(ids, NO_EXPERT), router_weights)
    assert simulator.dispatches == []


@simulated_only
@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize(("prefill", "expected"), [(False, DECODE), (True, PREFILL)])
def test_the_layer_as_a_whole_and_not_the_rows_asked_chooses_the_kernels(
    rows: int, prefill: bool, expected: list[str]
) -> None:
    simulator = MetalSimulator()
    layer = MetalBackend(simulator.metal_kernel).load(random_layer(128, 64, experts=2))
    simulator.dispatches.clear()
    exponents = np.full(rows, -20, dtype=np.int8)
    layer.forward(Asked(*random_rows(rows, 128, experts=2), exponents, prefill))
    assert simulator.dispatches == expected


@pytest.mark.parametrize("batch", [5, 64])
def test_a_row_is_the_same_to_the_bit_in_every_batch_of_its_kernels(batch: int) -> None:
    layer = metal_backend().load(random_layer(128, 64, experts=8))
    values, ids, router_weights = random_rows(batch, 128, experts=8)
    whole = sums_of(layer, values, ids, router_weights)
    order = np.random.default_rng(3).permutation(batch)
    shuffled = sums_of(layer, values[order], ids[order], router_weights[order])
    assert np.array_equal(shuffled, whole[order])
    if batch == 5:
        alone = [
            sums_of(layer, values[i : i + 1], ids[i : i + 1], router_weights[i : i + 1]) for i in range(5)
        ]
        assert np.array_equal(np.concatenate(alone), whole)


@pytest.mark.parametrize(
    ("rows", "prefill", "expected"),
    [
        ([1, 1], False, 1),
        ([2, 1], False, 2),
        ([3, 1], False, 4),
        ([9, 1, 1], False, 4),
        ([5], False, 4),
        ([1], True, 32),
    ],
)
def test_rows_of_an_expert_share_its_decoding(rows: list[int], prefill: bool, expected: int) -> None:
    assert choose_tile_rows(np.array(rows), prefill=prefill) == expected


@simulated_only
@pytest.mark.parametrize("rows", [2, 40])
def test_the_order_of_threads_changes_nothing(rows: int) -> None:
    weights = random_layer(200, 136, bits=(4, 3))
    request = random_rows(rows, 200)
    forwards, backwards = (
        sums_of(MetalBackend(MetalSimulator(backwards=order).metal_kernel).load(weights), *request)
        for order in (False, True)
    )
    assert np.array_equal(forwards, backwards)


@pytest.mark.parametrize("rows", [1, 40])
def test_one_evaluation_a_forward(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = metal_backend().load(random_layer(128, 64))
    evaluated: list[object] = []
    monkeypatch.setattr(mx, "eval", lambda *arrays: evaluated.append(arrays))
    layer.forward(Asked(*random_rows(rows, 128), np.full(rows, -20, dtype=np.int8)))
    assert len(evaluated) == 1


def test_a_layer_is_used_from_another_thread_than_it_was_loaded_on() -> None:
    layer = metal_backend().load(random_layer(128, 64))
    request = random_rows(2, 128)
    with ThreadPoolExecutor(max_workers=1) as compute:
        assert np.array_equal(compute.submit(sums_of, layer, *request).result(), sums_of(layer, *request))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_rows_are_widened(dtype: type[np.generic]) -> None:
    layer = metal_backend().load(random_layer(128, 64))
    values, ids, router_weights = random_rows(2, 128)
    halves = values.astype(dtype)
    assert np.array_equal(
        sums_of(layer, halves, ids, router_weights),
        sums_of(layer, halves.astype(np.float32), ids, router_weights),
    )


@pytest.mark.skipif(mx.metal.is_available(), reason="this machine has Metal")
def test_without_metal_the_backend_is_missing() -> None:
    with pytest.raises(BackendMissingError, match="no Metal device"):
        MetalBackend()


def test_an_expert_outside_the_shard_is_named() -> None:
    layer = metal_backend().load(random_layer(128, 64))
    values, ids, router_weights = random_rows(2, 128)
    ids[1, 1] = FIRST_EXPERT + 4
    with pytest.raises(KernelInputError, match="104"):
        sums_of(layer, values, ids, router_weights)


def test_gate_and_up_must_share_their_rotation() -> None:
    weights = random_layer(128, 64)
    turned = dataclasses.replace(weights.up, signs=-weights.up.signs)
    with pytest.raises(KernelInputError, match="must share bits, codebook and signs"):
        metal_backend().load(dataclasses.replace(weights, up=turned))


def test_a_size_the_rotation_cannot_take_is_refused() -> None:
    with pytest.raises(KernelInputError, match="hidden size 8224 is above 8192"):
        metal_backend().load(random_layer(8224, 32, experts=1))


@simulated_only
@pytest.mark.parametrize(("prefill", "names"), [(False, DECODE), (True, PREFILL)])
def test_each_kernel_by_itself_is_the_one_of_a_forward(prefill: bool, names: list[str]) -> None:
    simulator = MetalSimulator()
    layer = MetalBackend(simulator.metal_kernel).load(random_layer(128, 64, experts=2))
    exponents = np.full(2, -20, dtype=np.int8)
    call = Asked(*random_rows(2, 128, experts=2), exponents, prefill)
    for kernel, name in zip(layer.kernel_calls([call, call]), names, strict=True):
        simulator.dispatches.clear()
        kernel.prepare(3)()
        assert simulator.dispatches == [name] * 3
