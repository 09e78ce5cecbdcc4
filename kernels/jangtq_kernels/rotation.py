"""The randomized Hadamard rotation, block by block for sizes that are no power of two. Knows no weights."""

from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)


@cache
def generate_signs(in_features: int, seed: int) -> NDArray[np.float32]:
    """float32 [in_features], each +1 or -1, from NumPy's default generator. Read-only."""
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=in_features).astype(np.float32)
    signs.setflags(write=False)
    return signs


def hadamard_blocks(size: int) -> tuple[int, ...]:
    """The powers of two that add up to `size`, largest first: 3072 = 2048 + 1024."""
    return tuple(1 << bit for bit in reversed(range(size.bit_length())) if size >> bit & 1)


def hadamard(x: NDArray[Float]) -> NDArray[Float]:
    """Orthonormal Walsh-Hadamard transform of the last axis, each block by itself; its own inverse.

    Computes in x's dtype, stage by stage from neighbours outwards, as the reference does in float32.
    """
    result = np.empty_like(x)
    start = 0
    for block in hadamard_blocks(x.shape[-1]):
        result[..., start : start + block] = _transform(x[..., start : start + block])
        start += block
    return result


def rotate(x: NDArray[Float], signs: NDArray[np.float32]) -> NDArray[Float]:
    """H(signs * x) along the last axis."""
    return hadamard(x * signs.astype(x.dtype))


def rotate_back(x: NDArray[Float], signs: NDArray[np.float32]) -> NDArray[Float]:
    """signs * H(x) along the last axis, the inverse of `rotate`."""
    return hadamard(x) * signs.astype(x.dtype)


def _transform(x: NDArray[Float]) -> NDArray[Float]:
    size, shape = x.shape[-1], x.shape
    step = 1
    while step < size:
        pairs = x.reshape(*shape[:-1], size // (2 * step), 2, step)
        a, b = pairs[..., 0, :], pairs[..., 1, :]
        x = np.concatenate([a + b, a - b], axis=-1).reshape(shape)
        step *= 2
    return x * x.dtype.type(size**-0.5)
