"""Products of float32 matrices that MLX asks our library for: right, and a row's bits its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from jangtq_coordinator.model.mlx_products import fast_products
from jangtq_kernels.blas import Blas, open_blas, stand_before_mlx
from jangtq_kernels.errors import BackendMissingError

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="MLX multiplies with Accelerate or Metal there"
)
ISAS = (stand_before_mlx() or pytest.fail("no library")).isas if sys.platform == "linux" else ()


def library() -> Blas:
    found = fast_products()
    assert found is not None
    return found


@pytest.fixture(params=ISAS)
def blas(request: pytest.FixtureRequest) -> Iterator[Blas]:
    """The library with each instruction set."""
    found = library()
    found.choose(request.param)
    yield found
    found.choose(ISAS[0])
    found.share(1)


def numbers(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(list(shape)).standard_normal(shape, dtype=np.float32)


def both_ways(matrix: NDArray[np.float32]) -> tuple[mx.array, mx.array]:
    """The same matrix as MLX passes it on plain and transposed."""
    return mx.array(matrix), mx.array(np.ascontiguousarray(matrix.T)).T


SHAPES = [
    (1, 1, 1),
    (1, 300, 65),
    (2, 7, 16),
    (5, 64, 33),
    (6, 4, 128),
    (7, 130, 17),
    (13, 31, 100),
    (40, 70, 9),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_products_of_any_shape_and_order_are_right(blas: Blas, shape: tuple[int, int, int]) -> None:
    rows, columns, depth = shape
    a, b = numbers(rows, depth), numbers(depth, columns)
    expected = a.astype(np.float64) @ b
    before = blas.calls
    for left in both_ways(a):
        for right in both_ways(b):
            np.testing.assert_allclose(np.array(left @ right), expected, rtol=1e-4, atol=1e-4)
            added = mx.addmm(mx.ones(expected.shape), left, right, alpha=0.5, beta=2.0)
            np.testing.assert_allclose(np.array(added), 0.5 * expected + 2, rtol=1e-4, atol=1e-4)
    assert blas.calls >= before + 8


@pytest.mark.parametrize(("columns", "depth"), [(48, 320), (257, 64), (64, 37)])
def test_a_row_gives_the_same_bits_alone_and_among_others(blas: Blas, columns: int, depth: int) -> None:
    rows = mx.array(numbers(40, depth))
    for right in both_ways(numbers(depth, columns)):
        together = np.array(rows @ right)
        for count in (1, 2, 3, 4, 5, 7, 12, 33):
            np.testing.assert_array_equal(np.array(rows[40 - count :] @ right), together[40 - count :])


def test_a_large_product_gives_the_same_bits_with_any_number_of_threads(blas: Blas) -> None:
    a, b = mx.array(numbers(90, 1030)), mx.array(numbers(400, 1030))
    alone = np.array(a @ b.T)
    np.testing.assert_allclose(alone, np.array(a) @ np.array(b).T, rtol=1e-3, atol=1e-3)
    for threads in (2, 3):
        assert blas.share(threads)
        np.testing.assert_array_equal(np.array(a @ b.T), alone)


FORKS = """
import ctypes, os
from jangtq_kernels.blas import LIBRARY, open_blas

open_blas(LIBRARY).share(2)
size, one = 512, ctypes.c_float(1)
square = (ctypes.c_float * size**2)(*[1.0] * size**2)

def is_right():
    product = (ctypes.c_float * size**2)(float("nan"))
    ctypes.CDLL(str(LIBRARY)).cblas_sgemm(
        101, 111, 112, size, size, size, one, square, size, square, size, ctypes.c_float(0), product, size
    )
    return set(product) == {size}

assert is_right()
child = os.fork()
if child == 0:
    os._exit(0 if is_right() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_fork_computes_alone() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], check=True, timeout=120)


LATE = """
import mlx.core, logging
logging.basicConfig(level=logging.INFO)
from jangtq_coordinator.model.mlx_products import fast_products
assert fast_products() is None
"""


def test_a_library_that_comes_too_late_is_noticed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE], check=True, timeout=120, capture_output=True, text=True
    )
    assert "MLX does not call our products" in done.stderr


def test_a_missing_library_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BackendMissingError, match=r"gone\.so.*install a C\+\+ compiler"):
        open_blas(tmp_path / "gone.so")
