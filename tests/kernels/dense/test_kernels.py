"""Products with dense matrices and attention, on every instruction set: right, and a row's bits its own."""

from functools import cache

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_kernels.dense.kernels import (
    AFFINE_BITS,
    GROUP_SIZES,
    DenseKernels,
    DenseMatrix,
    KvColumns,
    LoadedMatrix,
    NumberType,
)
from jangtq_kernels.errors import BackendMissingError, KernelInputError
from tests.support.kernel_backends import ISAS

MLX_TYPES = {
    NumberType.FLOAT32: mx.float32,
    NumberType.FLOAT16: mx.float16,
    NumberType.BFLOAT16: mx.bfloat16,
}


@cache
def kernels(isa: str, threads: int = 2) -> DenseKernels:
    return DenseKernels(threads, isa=isa)


def memory_of(array: mx.array) -> NDArray[np.generic]:
    return np.array(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)


def affine(
    out: int, in_features: int, *, bits: int, group: int, number: NumberType = NumberType.FLOAT16
) -> tuple[LoadedMatrix, NDArray[np.float32]]:
    """A random matrix, and its numbers as MLX unpacks them."""
    weights = mx.random.normal((out, in_features), key=mx.random.key(out + bits))
    codes, scales, biases = mx.quantize(weights, group_size=group, bits=bits)
    scales, biases = scales.astype(MLX_TYPES[number]), biases.astype(MLX_TYPES[number])
    numbers = mx.dequantize(
        codes, scales.astype(mx.float32), biases.astype(mx.float32), group_size=group, bits=bits
    )
    matrix = DenseMatrix(memory_of(codes), memory_of(scales), memory_of(biases), bits, group, number)
    return LoadedMatrix(matrix), np.array(numbers)


def plain(out: int, in_features: int, number: NumberType) -> tuple[LoadedMatrix, NDArray[np.float32]]:
    numbers = mx.random.normal((out, in_features), key=mx.random.key(out)).astype(MLX_TYPES[number])
    matrix = LoadedMatrix(DenseMatrix(memory_of(numbers), number=number))
    return matrix, np.array(numbers.astype(mx.float32))


def random_rows(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(list(shape)).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bits", AFFINE_BITS)
@pytest.mark.parametrize("group", GROUP_SIZES)
@pytest.mark.parametrize("number", list(NumberType))
def test_products_are_right_and_a_rows_bits_its_own(
    isa: str, bits: int, group: int, number: NumberType
) -> None:
    (first, first_numbers), (second, second_numbers) = (
        affine(out, 384, bits=bits, group=group, number=number) for out in (70, 7)
    )
    rows = random_rows(11, 384)
    found = kernels(isa).multiply(rows, [first, second])
    for products, numbers in zip(found, (first_numbers, second_numbers), strict=True):
        np.testing.assert_allclose(products, rows.astype(np.float64) @ numbers.T, rtol=2e-5, atol=5e-5)
    for count in (1, 2, 3, 4, 5):
        few = kernels(isa, 1).multiply(rows[3 : 3 + count], [second])
        np.testing.assert_array_equal(few[0], found[1][3 : 3 + count])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("number", list(NumberType))
def test_plain_numbers_are_multiplied_too(isa: str, number: NumberType) -> None:
    matrix, numbers = plain(37, 100, number)
    rows = random_rows(6, 100)
    (products,) = kernels(isa).multiply(rows, [matrix])
    np.testing.assert_allclose(products, rows.astype(np.float64) @ numbers.T, rtol=1e-5, atol=2e-5)
    for row in range(6):
        np.testing.assert_array_equal(
            kernels(isa).multiply(rows[row : row + 1], [matrix])[0][0], products[row]
        )


@pytest.mark.parametrize("isa", ISAS)
def test_large_products_have_the_same_bits_with_any_number_of_threads(isa: str) -> None:
    matrix, _ = affine(1030, 256, bits=8, group=64)
    for rows in (1, 30):
        alone, *others = (
            kernels(isa, threads).multiply(random_rows(rows, 256), [matrix])[0] for threads in (1, 2, 5)
        )
        for other in others:
            np.testing.assert_array_equal(other, alone)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bits", AFFINE_BITS)
def test_rows_are_looked_up(isa: str, bits: int) -> None:
    matrix, numbers = affine(30, 128, bits=bits, group=32)
    ids = np.array([[29, 0], [7, 7]], np.int32)
    np.testing.assert_allclose(kernels(isa).look_up(matrix, ids), numbers[ids], rtol=1e-6, atol=1e-6)
    for wrong in (-1, 30):
        with pytest.raises(KernelInputError, match="allowed are 0 to 29"):
            kernels(isa).look_up(matrix, np.array([0, wrong], np.int32))


def test_numbers_that_are_not_finite_stay_in_their_row() -> None:
    matrix, _ = affine(8, 64, bits=8, group=64)
    rows = random_rows(3, 64)
    expected = kernels(ISAS[0]).multiply(rows, [matrix])[0]
    rows[1, 5] = np.nan
    found = kernels(ISAS[0]).multiply(rows, [matrix])[0]
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


def columns(values: NDArray[np.float32], bits: int | None) -> tuple[KvColumns, NDArray[np.float32]]:
    """Keys or values as the cache stores them, and their numbers."""
    if bits is None:
        return KvColumns((values,)), values
    parts = mx.quantize(mx.array(values), group_size=32, bits=bits)
    numbers = np.array(mx.dequantize(*parts, group_size=32, bits=bits))
    return KvColumns(tuple(np.array(part) for part in parts), bits, 32), numbers


def attention(
    queries: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32], lengths: list[int]
) -> NDArray[np.float64]:
    rows, heads, tokens, size = queries.shape
    found = np.empty((rows, tokens, heads * size))
    for row, head, token in np.ndindex(rows, heads, tokens):
        seen, shared = lengths[row] - tokens + token + 1, head * keys.shape[1] // heads
        scores = keys[row, shared, :seen].astype(np.float64) @ queries[row, head, token] * 0.3
        shares = np.exp(scores - scores.max())
        found[row, token, head * size : (head + 1) * size] = (
            shares / shares.sum() @ values[row, shared, :seen]
        )
    return found


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bits", [None, 8, 4])
@pytest.mark.parametrize("tokens", [1, 11])
def test_attention_is_right_and_a_rows_bits_its_own(isa: str, bits: int | None, tokens: int) -> None:
    """Rows of one chunk and of several, more heads than a tile, and columns that hold no token yet."""
    lengths, held = [600, 11, 300], 768
    queries = random_rows(3, 14, tokens, 32)
    (keys, key_numbers), (values, value_numbers) = (
        columns(random_rows(3, 2, held, 32) + shift, bits) for shift in (0, 1)
    )
    found = kernels(isa).attend(queries, keys, values, lengths=lengths, scale=0.3)
    np.testing.assert_allclose(
        found, attention(queries, key_numbers, value_numbers, lengths), rtol=1e-4, atol=1e-4
    )
    for row, threads in ((0, 1), (0, 5), (2, 3)):
        one = [
            KvColumns(tuple(part[row : row + 1] for part in each.parts), each.bits, each.group_size)
            for each in (keys, values)
        ]
        alone = kernels(isa, threads).attend(
            queries[row : row + 1], *one, lengths=lengths[row : row + 1], scale=0.3
        )
        np.testing.assert_array_equal(alone[0], found[row])


def test_the_last_token_of_a_prompt_has_the_bits_of_a_token_alone() -> None:
    queries, keys, values = random_rows(1, 4, 20, 32), random_rows(1, 2, 512, 32), random_rows(1, 2, 512, 32)
    whole = kernels(ISAS[0]).attend(
        queries, KvColumns((keys,)), KvColumns((values,)), lengths=[400], scale=0.2
    )
    alone = kernels(ISAS[0]).attend(
        queries[:, :, -1:], KvColumns((keys,)), KvColumns((values,)), lengths=[400], scale=0.2
    )
    np.testing.assert_array_equal(alone[:, 0], whole[:, -1])


def test_what_does_not_fit_is_refused() -> None:
    codes, scales = np.zeros((4, 16), np.uint32), np.zeros((4, 1), np.float16)
    with pytest.raises(KernelInputError, match="bits 5: allowed are 4, 6 and 8"):
        DenseMatrix(codes, scales, scales, 5, 64, NumberType.FLOAT16)
    with pytest.raises(KernelInputError, match="group_size 16: allowed are 32, 64 and 128"):
        DenseMatrix(codes, scales, scales, 8, 16, NumberType.FLOAT16)
    with pytest.raises(KernelInputError, match=r"biases: none, expected FLOAT16 \(4, 1\)"):
        DenseMatrix(codes, scales, None, 8, 64, NumberType.FLOAT16)
    with pytest.raises(KernelInputError, match="expected uint32"):
        DenseMatrix(codes.astype(np.int32), scales, scales, 8, 64, NumberType.FLOAT16)
    matrix = LoadedMatrix(DenseMatrix(codes, scales, scales, 8, 64, NumberType.FLOAT16))
    with pytest.raises(KernelInputError, match=r"expected \[rows, 64\]"):
        kernels(ISAS[0]).multiply(random_rows(1, 32), [matrix])
    kv = KvColumns((random_rows(1, 2, 256, 32),))
    for lengths in ([0], [257]):
        with pytest.raises(KernelInputError, match="allowed are 1 to 256"):
            kernels(ISAS[0]).attend(random_rows(1, 4, 1, 32), kv, kv, lengths=lengths, scale=1)
    with pytest.raises(KernelInputError, match="do not fit keys"):
        kernels(ISAS[0]).attend(random_rows(1, 3, 1, 32), kv, kv, lengths=[5], scale=1)
    with pytest.raises(BackendMissingError, match="sse9"):
        DenseKernels(1, isa="sse9")
