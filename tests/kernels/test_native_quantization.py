"""Native quantization against the reference implementation and NumPy, for every stored type and odd sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jang_tools.turboquant.linear import tq_quantize_weight

from jangtq_kernels.cpu_library import LIBRARY
from jangtq_kernels.errors import KernelInputError
from jangtq_kernels.native_quantization import quantize_stored
from jangtq_kernels.quantization import quantize
from jangtq_kernels.stored_weights import BlockScales, StoredMatrix, WeightType, widen


def stored(values: np.ndarray, kind: WeightType, scales: BlockScales | None = None) -> StoredMatrix:
    data = np.ascontiguousarray(values.astype(kind.dtype)).view(np.uint8).reshape(-1)
    return StoredMatrix(data, kind, (values.shape[0], values.shape[1]), scales)


def random_matrix(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32) * np.float32(0.3)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("kind", list(WeightType))
def test_codes_and_norms_equal_those_of_the_reference(kind: WeightType, bits: int) -> None:
    rng = np.random.default_rng(4)
    scales = BlockScales(rng.random((2, 3), dtype=np.float32)) if kind is WeightType.FLOAT8_E4M3 else None
    matrix = stored(random_matrix(130, 288, seed=bits), kind, scales)
    expected = tq_quantize_weight(widen(matrix), bits=bits, seed=42)
    codes, norms = quantize_stored(matrix, bits=bits, seed=42)
    np.testing.assert_array_equal(codes, expected["packed"])
    np.testing.assert_array_equal(norms, expected["norms"])


@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 90),
    bits=st.sampled_from([2, 3, 4]),
    seed=st.integers(0, 99),
)
def test_odd_sizes_give_numpys_codes(rows: int, columns: int, bits: int, seed: int) -> None:
    values = random_matrix(rows, columns, seed)
    codes, norms = quantize_stored(stored(values, WeightType.FLOAT32), bits=bits, seed=seed)
    expected, expected_norms = quantize(values, bits=bits, seed=seed)
    # NumPy adds squares in another order: a value beside a midpoint may then fall on its other side.
    assert np.mean(codes != expected) <= 0.01
    np.testing.assert_allclose(norms.astype(np.float32), expected_norms.astype(np.float32), rtol=2e-3)


@given(st.integers(0, 0xFFFF))
def test_every_float16_is_widened_exactly(bits: int) -> None:
    half = np.full((1, 16), bits, dtype=np.uint16).view(np.float16)
    matrix = StoredMatrix(half.view(np.uint8).reshape(-1), WeightType.FLOAT16, (1, 16))
    if not np.isfinite(half[0, 0]):
        with pytest.raises(KernelInputError, match="not finite"):
            quantize_stored(matrix, bits=2, seed=1)
        return
    if abs(float(half[0, 0])) * 4 > 65_504:
        with pytest.raises(KernelInputError, match="allowed are norms up to 65504"):
            quantize_stored(matrix, bits=2, seed=1)
        return
    _, norms = quantize_stored(matrix, bits=2, seed=1)
    expected = tq_quantize_weight(half.astype(np.float32), bits=2, seed=1)
    np.testing.assert_array_equal(norms, expected["norms"])


@pytest.mark.parametrize("code", [0x7F, 0xFF])
def test_nan_of_float8_is_refused(code: int) -> None:
    data = np.full(64, code, dtype=np.uint8)
    with pytest.raises(KernelInputError, match="not finite"):
        quantize_stored(StoredMatrix(data, WeightType.FLOAT8_E4M3, (1, 64)), bits=2, seed=1)


def test_without_the_library_numpy_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = stored(random_matrix(4, 64, seed=0), WeightType.FLOAT32)
    native = quantize_stored(matrix, bits=2, seed=7)
    monkeypatch.setattr("jangtq_kernels.native_quantization.LIBRARY", LIBRARY.with_name("missing.so"))
    for ours, numpys in zip(native, quantize_stored(matrix, bits=2, seed=7), strict=True):
        np.testing.assert_array_equal(ours, numpys)
    with pytest.raises(KernelInputError, match="not finite"):
        quantize_stored(stored(np.full((1, 8), np.inf, np.float32), WeightType.FLOAT32), bits=2, seed=7)


def test_bytes_that_do_not_fit_the_shape_are_refused() -> None:
    with pytest.raises(KernelInputError, match="30 bytes, expected 32"):
        StoredMatrix(np.zeros(30, dtype=np.uint8), WeightType.FLOAT16, (2, 8))
    scales = BlockScales(np.ones((1, 2), dtype=np.float32))
    with pytest.raises(KernelInputError, match=r"scales \[1, 2\], expected \[1, 1\]"):
        StoredMatrix(np.zeros(16, dtype=np.uint8), WeightType.FLOAT8_E4M3, (2, 8), scales)
