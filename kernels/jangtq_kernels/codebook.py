"""The Lloyd-Max codebook of one coordinate of a random unit vector."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

# The reference's own constants: the codebook must come out equal to the last bit.
_GRID_POINTS = 10_000
_MOST_ITERATIONS = 200
_TOLERANCE = 1e-10


@cache
def compute_codebook(in_features: int, bits: int) -> NDArray[np.float32]:
    """float32 [2**bits] centroids, ascending and symmetric about 0. Read-only.

    Lloyd-Max for the density of a coordinate of a random unit vector in R^in_features, proportional to
    (1 - x^2)^((in_features - 3) / 2), integrated by the trapezoid rule.
    """
    grid = np.linspace(-1.0, 1.0, _GRID_POINTS)
    density = _density(grid, in_features)
    density = density / np.trapezoid(density, grid)
    support = 3.0 / np.sqrt(in_features)
    centroids = np.linspace(-support, support, 1 << bits)
    for _ in range(_MOST_ITERATIONS):
        improved = _improve(centroids, grid, density)
        if np.allclose(centroids, improved, atol=_TOLERANCE):
            break
        centroids = improved
    result = np.sort(centroids).astype(np.float32)
    result.setflags(write=False)
    return result


def _density(x: NDArray[np.float64], in_features: int) -> NDArray[np.float64]:
    if in_features <= 2:
        return np.full_like(x, 0.5)
    half = in_features / 2.0
    log_constant = math.lgamma(half) - 0.5 * math.log(math.pi) - math.lgamma((in_features - 1) / 2.0)
    log_density = log_constant + (in_features - 3) / 2.0 * np.log(np.maximum(1.0 - x**2, 1e-30))
    return np.asarray(np.exp(log_density))


def _improve(
    centroids: NDArray[np.float64], grid: NDArray[np.float64], density: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each centroid moves to the mean of its cell; one whose cell is empty stays."""
    edges = np.concatenate([[-np.inf], (centroids[:-1] + centroids[1:]) / 2.0, [np.inf]])
    improved = centroids.copy()
    for index in range(len(centroids)):
        cell = (grid >= edges[index]) & (grid < edges[index + 1])
        if cell.sum() > 1:
            mass = np.trapezoid(density[cell], grid[cell])
            moment = np.trapezoid(grid[cell] * density[cell], grid[cell])
            improved[index] = moment / max(mass, 1e-10)
    return improved
