"""What LoadedLayer promises, asked of every backend: the numbers, the odd requests and the refusals."""

import dataclasses
from collections.abc import Callable
from functools import cache

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.weights import ExpertWeights
from tests.support.kernel_backends import (
    FAST_NAMES,
    NAMES,
    Asked,
    Request,
    backend,
    dense_forward,
    largest_error,
    relative_error,
    sums_of,
)
from tests.support.metal_cases import FIRST_EXPERT, random_layer, random_rows
from tests.support.products import part, product

EVERY_BACKEND = pytest.mark.parametrize("name", NAMES)
FAST_BACKENDS = pytest.mark.parametrize("name", FAST_NAMES)


def error_of(name: str, weights: ExpertWeights, request: Request) -> float:
    got = sums_of(backend(name).load(weights), *request)
    assert got.dtype == np.float32
    assert got.shape == request[0].shape
    return relative_error(got, dense_forward(weights, request))


BITS = [(2, 2), (3, 3), (4, 4), (2, 4), (4, 3)]
SIZES = [(128, 128, 1), (200, 136, 5), (160, 224, 40)]


@pytest.mark.parametrize(("name", "bits", "sizes"), product(NAMES, BITS, SIZES))
def test_bits_sizes_and_batches(name: str, bits: tuple[int, int], sizes: tuple[int, int, int]) -> None:
    hidden, intermediate, rows = sizes
    weights = random_layer(hidden, intermediate, bits=bits)
    assert error_of(name, weights, random_rows(rows, hidden)) <= largest_error(name)


@cache
def large_case(
    hidden: int, intermediate: int, rows: int, bits: tuple[int, int]
) -> tuple[ExpertWeights, Request, NDArray[np.float64]]:
    """Weights, a request and its sums; kept, since the dense oracle is slow at these sizes."""
    weights = random_layer(hidden, intermediate, experts=1, bits=bits)
    request = random_rows(rows, hidden, experts=1, slots=1)
    return weights, request, dense_forward(weights, request)


@FAST_BACKENDS
@pytest.mark.parametrize(
    ("hidden", "intermediate", "rows", "bits"),
    [
        (3072, 1536, 1, (2, 2)),
        (6144, 136, 2, (3, 2)),
        (128, 6144, 17, (4, 3)),
        (1000, 1544, 9, (3, 4)),
    ],
)
def test_large_sizes(name: str, hidden: int, intermediate: int, rows: int, bits: tuple[int, int]) -> None:
    weights, request, expected = large_case(hidden, intermediate, rows, bits)
    assert relative_error(sums_of(backend(name).load(weights), *request), expected) <= largest_error(name)


@FAST_BACKENDS
@pytest.mark.parametrize("rows", [2, 3, 4, 7, 16, 33, part(70, whole=512)])
def test_every_number_of_rows(name: str, rows: int) -> None:
    assert error_of(name, random_layer(192, 128), random_rows(rows, 192)) <= largest_error(name)


@EVERY_BACKEND
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_row_types(name: str, dtype: type[np.generic]) -> None:
    rows, ids, router_weights = random_rows(3, 128)
    assert error_of(name, random_layer(128, 128), (rows.astype(dtype), ids, router_weights)) <= largest_error(
        name
    )


@EVERY_BACKEND
@pytest.mark.parametrize("rows", [1, 24])
def test_an_expert_named_twice_counts_twice(name: str, rows: int) -> None:
    values, ids, router_weights = random_rows(rows, 128, slots=3)
    ids[:, 2] = ids[:, 0]
    assert error_of(name, random_layer(128, 128), (values, ids, router_weights)) <= largest_error(name)


@EVERY_BACKEND
def test_rows_without_an_expert_here_are_zero(name: str) -> None:
    values, ids, router_weights = random_rows(5, 128)
    ids[1] = NO_EXPERT
    ids[3] = NO_EXPERT
    ids[4, 0] = NO_EXPERT
    weights = random_layer(128, 128)
    assert error_of(name, weights, (values, ids, router_weights)) <= largest_error(name)
    sums = sums_of(backend(name).load(weights), values, ids, router_weights)
    assert not sums[[1, 3]].any()
    ids[:] = NO_EXPERT
    assert not sums_of(backend(name).load(weights), values, ids, router_weights).any()


@EVERY_BACKEND
def test_no_rows_and_no_slots(name: str) -> None:
    layer = backend(name).load(random_layer(128, 128))
    values, ids, router_weights = random_rows(2, 128)
    assert sums_of(layer, values[:0], ids[:0], router_weights[:0]).shape == (0, 128)
    assert not sums_of(layer, values, ids[:, :0], router_weights[:, :0]).any()


@EVERY_BACKEND
def test_rows_of_zeros_stay_zero(name: str) -> None:
    values, ids, router_weights = random_rows(2, 128)
    assert not sums_of(backend(name).load(random_layer(128, 128)), 0 * values, ids, router_weights).any()


@EVERY_BACKEND
def test_large_activations_saturate_silu_without_overflow(name: str) -> None:
    values, ids, router_weights = random_rows(2, 128)
    request = (values * np.float32(1e6), ids, router_weights)
    assert error_of(name, random_layer(128, 128), request) <= largest_error(name)


def _strided(array: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.repeat(array, 2, axis=1)[:, ::2]


def _read_only(array: NDArray[np.generic]) -> NDArray[np.generic]:
    array = array.copy()
    array.setflags(write=False)
    return array


def _unaligned(array: NDArray[np.generic]) -> NDArray[np.generic]:
    memory = np.zeros(array.nbytes + 1, dtype=np.uint8)
    result = memory[1:].view(array.dtype).reshape(array.shape)
    result[:] = array
    return result


@EVERY_BACKEND
@pytest.mark.parametrize("put", [_strided, _read_only, _unaligned, np.asfortranarray])
def test_any_place_in_memory_gives_the_same_sums(
    name: str, put: Callable[[NDArray[np.generic]], NDArray[np.generic]]
) -> None:
    layer = backend(name).load(random_layer(128, 128))
    request = random_rows(3, 128)
    values, ids, router_weights = (put(array) for array in request)
    sums = sums_of(layer, values, ids.view(np.int32), router_weights.view(np.float32))
    np.testing.assert_array_equal(sums, sums_of(layer, *request))


@EVERY_BACKEND
def test_read_only_weights_are_loaded(name: str) -> None:
    weights = random_layer(128, 128)
    for matrix in (weights.gate, weights.up, weights.down):
        matrix.codes.setflags(write=False)
        matrix.norms.setflags(write=False)
    assert error_of(name, weights, random_rows(1, 128)) <= largest_error(name)


def _request(**changes: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    rows, ids, router_weights = random_rows(2, 128)
    exponents = np.full(len(rows), -20, dtype=np.int8)
    return {
        "rows": rows,
        "expert_ids": ids,
        "router_weights": router_weights,
        "exponents": exponents,
        **changes,
    }


FOREIGN = np.full((2, 2), FIRST_EXPERT, dtype=np.int32)
BAD_REQUESTS = {
    "rows hold values": _request(rows=np.full((2, 128), np.nan, dtype=np.float32)),
    "router_weights hold values": _request(router_weights=np.full((2, 2), np.inf, dtype=np.float32)),
    "rows are float64": _request(rows=np.zeros((2, 128))),
    r"rows are \[2, 127\]": _request(rows=np.zeros((2, 127), dtype=np.float32)),
    r"rows are \[128\]": _request(rows=np.zeros(128, dtype=np.float32)),
    r"expert_ids are \[1, 2\]": _request(expert_ids=FOREIGN[:1]),
    "expert_ids are int64": _request(expert_ids=FOREIGN.astype(np.int64)),
    r"router_weights are float32 \[2, 3\]": _request(router_weights=np.zeros((2, 3), dtype=np.float32)),
    r"expert_ids are \[2, 33\], expected \[2, up to 32\]": _request(
        expert_ids=np.full((2, 33), FIRST_EXPERT, dtype=np.int32)
    ),
    r"exponents are int8 \[3\], expected int8 \[2\]": _request(exponents=np.zeros(3, dtype=np.int8)),
    "exponents are int32": _request(exponents=np.zeros(2, dtype=np.int32)),
    "-127.: allowed are -126 to 97": _request(exponents=np.array([0, -127], dtype=np.int8)),
    "98, 0.: allowed are -126 to 97": _request(exponents=np.array([98, 0], dtype=np.int8)),
    "expert 99 is none": _request(expert_ids=FOREIGN - 1),
    "expert 104 is none": _request(expert_ids=FOREIGN + 4),
    "expert -2 is none": _request(expert_ids=np.full((2, 2), -2, dtype=np.int32)),
    "expert 2147483647 is none": _request(expert_ids=np.full((2, 2), 2**31 - 1, dtype=np.int32)),
}


@pytest.mark.parametrize(("name", "message"), product(NAMES, list(BAD_REQUESTS)))
def test_bad_requests_are_named(name: str, message: str) -> None:
    layer = backend(name).load(random_layer(128, 128))
    with pytest.raises(KernelInputError, match=message):
        layer.forward(Asked(**BAD_REQUESTS[message]))  # type: ignore[arg-type]


@EVERY_BACKEND
@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("5 bits", {"bits": 5}),
        ("codes are", {"codes": np.zeros((4, 128, 7), dtype=np.uint32)}),
        ("norms are float32", {"norms": np.zeros((4, 128), dtype=np.float32)}),
        ("codebook are", {"codebook": np.zeros(8, dtype=np.float32)}),
        ("signs are float64", {"signs": np.ones(128)}),
    ],
)
def test_bad_weights_are_named(name: str, message: str, changes: dict[str, object]) -> None:
    weights = random_layer(128, 128)
    down = dataclasses.replace(weights.down, **changes)  # type: ignore[arg-type]
    with pytest.raises(KernelInputError, match=f"down.* {message}|down: {message}"):
        backend(name).load(dataclasses.replace(weights, down=down))


@EVERY_BACKEND
def test_an_expert_given_twice_is_refused(name: str) -> None:
    weights = dataclasses.replace(random_layer(128, 128), expert_ids=(1, 2, 2, 3))
    with pytest.raises(KernelInputError, match="each once"):
        backend(name).load(weights)
