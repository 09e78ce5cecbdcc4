"""Dense layers that the native library computes from their weights as the bundle stores them.

MLX lends it evaluated rows between evaluations, and takes over the products.
"""

import math
from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.dense.kernels import (
    AFFINE_BITS,
    GROUP_SIZES,
    DenseKernels,
    DenseMatrix,
    LoadedMatrix,
    MatrixSet,
    NumberType,
)

_NUMBERS = {
    mx.float32: NumberType.FLOAT32,
    mx.float16: NumberType.FLOAT16,
    mx.bfloat16: NumberType.BFLOAT16,
}


def is_computable(layer: nn.Module) -> bool:
    """Whether the native library can compute a layer."""
    if isinstance(layer, nn.QuantizedLinear | nn.QuantizedEmbedding):
        fits = layer.bits in AFFINE_BITS and layer.group_size in GROUP_SIZES and layer.mode == "affine"
        return bool(fits and layer.scales.dtype in _NUMBERS)
    return isinstance(layer, nn.Linear | nn.Embedding) and layer.weight.dtype in _NUMBERS


def view_of(array: mx.array) -> NDArray[np.generic]:
    """An evaluated array's memory, valid as long as it lives; bfloat16 as its bits."""
    typed = array.view(mx.uint16) if array.dtype == mx.bfloat16 else array
    view: NDArray[np.generic] = np.array(typed, copy=False)
    return view


class NativeLayer(nn.Module):
    """A matrix that this object owns: MLX keeps none of it."""

    def __init__(self, kernels: DenseKernels, layer: nn.Module) -> None:
        super().__init__()
        self._kernels = kernels
        self._loaded = LoadedMatrix(_matrix_of(layer))
        self._set = MatrixSet([self._loaded])
        if "bias" in layer:
            self.bias = layer.bias

    @property
    def nbytes(self) -> int:
        return self._loaded.matrix.nbytes

    def _multiply(self, x: mx.array) -> mx.array:
        (product,) = multiply_all(self._kernels, x, self._set)
        return product + self.bias if "bias" in self else product


class NativeLinear(NativeLayer):
    """As nn.Linear."""

    def __call__(self, x: mx.array) -> mx.array:
        return self._multiply(x)

    @property
    def loaded(self) -> LoadedMatrix:
        return self._loaded


class NativeEmbedding(NativeLayer):
    """As nn.Embedding; only the rows that are looked up are unpacked."""

    def __call__(self, ids: mx.array) -> mx.array:
        return mx.array(self._kernels.look_up(self._loaded, np.array(ids.astype(mx.int32))))

    def as_linear(self, x: mx.array) -> mx.array:
        return self._multiply(x)


def multiply_all(kernels: DenseKernels, x: mx.array, matrices: MatrixSet) -> list[mx.array]:
    """Each matrix's products [..., out] with rows x [..., in], in one call."""
    rows = np.require(view_of(x), np.float32, ["C", "A"]).reshape(math.prod(x.shape[:-1]), x.shape[-1])
    products = kernels.multiply_in_place(rows, matrices)
    return [mx.array(product).reshape(*x.shape[:-1], -1) for product in products]


def matrix_set(layers: Sequence[nn.Module]) -> MatrixSet | None:
    """Of layers that multiply the same rows; None where one of them is not computed natively as it is."""
    native = [layer for layer in layers if isinstance(layer, NativeLinear) and "bias" not in layer]
    return MatrixSet([layer.loaded for layer in native]) if len(native) == len(layers) else None


def _matrix_of(layer: nn.Module) -> DenseMatrix:
    if not isinstance(layer, nn.QuantizedLinear | nn.QuantizedEmbedding):
        return DenseMatrix(_copied(layer.weight), number=_NUMBERS[layer.weight.dtype])
    return DenseMatrix(
        _copied(layer.weight),
        _copied(layer.scales),
        _copied(layer.biases),
        layer.bits,
        layer.group_size,
        _NUMBERS[layer.scales.dtype],
    )


def _copied(array: mx.array) -> NDArray[np.generic]:
    """NumPy asks for large pages where MLX does not, and products read from them a third faster."""
    return view_of(array).copy()
