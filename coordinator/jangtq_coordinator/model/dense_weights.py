"""How dense layers keep their weights, packed as in the bundle or as float32, and who multiplies them.

On a CPU, MLX's product with packed weights takes one thread and as long again for every row. The product of
jangtq_kernels.blas takes neither, but four times the memory.
"""

import itertools
import logging
import os
from collections.abc import Sequence
from typing import Final

import mlx.core as mx
import mlx.nn as nn
import psutil
from mlx.utils import tree_unflatten

from jangtq_coordinator.metrics.dense_report import DenseReport
from jangtq_coordinator.model.dense_config import DenseForm, DenseSettings
from jangtq_kernels.blas import Blas, stand_before_mlx
from jangtq_kernels.errors import BackendMissingError

_SHARE_OF_FREE: Final = 0.5
MANY_ROWS: Final = 16
"""For so many, unpacking a matrix and throwing the copy away takes less time than MLX's packed product."""
_LARGEST_COPY: Final = 512 * 2**20
_MIB: Final = 2**20
_log = logging.getLogger("jangtq.dense")


def count_unpacked(sizes: Sequence[int], form: DenseForm, *, fast: bool, free_bytes: int) -> int:
    """How many matrices to unpack, the first ones; `sizes` are their bytes as float32.

    AUTO unpacks where products are fast, and leaves half of the free memory to KV and to others.
    """
    if form is not DenseForm.AUTO:
        return len(sizes) if form is DenseForm.FLOAT32 else 0
    room = free_bytes * _SHARE_OF_FREE if fast else 0
    return sum(total <= room for total in itertools.accumulate(sizes))


def prepare_dense(model: nn.Module, settings: DenseSettings, dtype: mx.Dtype) -> DenseReport:
    """Unpack what the settings ask for, share products among threads, and say in the log what was done.

    `dtype` is what the model computes in; only float32 is multiplied fast.
    """
    blas = fast_products() if dtype == mx.float32 else None
    packed = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.QuantizedLinear)]
    sizes = [4 * matrix.scales.size * matrix.group_size for _, matrix in packed]
    free = psutil.virtual_memory().available
    count = count_unpacked(sizes, settings.form, fast=blas is not None, free_bytes=free)
    changed = [(name, unpack(matrix)) for name, matrix in packed[:count]]
    if blas is not None:
        changed += [
            (name, PackedLinear(matrix))
            for (name, matrix), size in zip(packed[count:], sizes[count:], strict=True)
            if size <= _LARGEST_COPY
        ]
    model.update_modules(tree_unflatten(changed))
    report = DenseReport(
        products="MLX" if blas is None else _share(blas, settings.threads or usual_threads()),
        float32_bytes=sum(sizes[:count]),
        packed_bytes=sum(_packed_bytes(matrix) for _, matrix in packed[count:]),
    )
    _log.info(
        "dense layers: %.0f MiB as float32, %.0f MiB packed; products by %s",
        report.float32_bytes / _MIB,
        report.packed_bytes / _MIB,
        report.products,
    )
    return report


def usual_threads() -> int:
    """Half of the cores: the others are for workers here, and for clients who wait for their tokens."""
    return max(1, (os.cpu_count() or 1) // 2)


def fast_products() -> Blas | None:
    """Our products, where MLX really calls them; None and a line in the log where they are missing."""
    try:
        blas = stand_before_mlx()
    except BackendMissingError as error:
        _log.warning("dense layers will be slow: %s", error)
        return None
    if blas is None:
        return None
    before = blas.calls
    mx.eval(mx.ones((2, 3)) @ mx.ones((3, 2)))
    if blas.calls == before:
        _log.warning("dense layers will be slow: MLX does not call our products; was it loaded before them?")
        return None
    return blas


class PackedLinear(nn.Module):
    """A layer that stays packed: it multiplies few rows as it is, and many by a copy for this once.

    A row's last bits may differ between the two.
    """

    def __init__(self, matrix: nn.QuantizedLinear) -> None:
        super().__init__()
        self.matrix = matrix

    def __call__(self, x: mx.array) -> mx.array:
        few = x.size < MANY_ROWS * x.shape[-1]
        result: mx.array = (self.matrix if few else _linear(self.matrix))(x)
        return result


def unpack(matrix: nn.QuantizedLinear) -> nn.Linear:
    """The same layer with its weights as the numbers that the codes stand for, evaluated."""
    linear = _linear(matrix)
    mx.eval(linear.parameters())
    return linear


def _linear(matrix: nn.QuantizedLinear) -> nn.Linear:
    linear = nn.Linear(1, 1, bias=False)
    linear.weight = mx.dequantize(
        matrix.weight,
        matrix.scales,
        matrix.biases,
        group_size=matrix.group_size,
        bits=matrix.bits,
        mode=matrix.mode,
    )
    if "bias" in matrix:
        linear.bias = matrix.bias
    return linear


def _packed_bytes(matrix: nn.QuantizedLinear) -> int:
    return sum(part.nbytes for part in (matrix.weight, matrix.scales, matrix.biases) if part is not None)


def _share(blas: Blas, threads: int) -> str:
    if not blas.share(threads):
        _log.warning("dense layers: %d threads cannot be started, one computes", threads)
        threads = 1
    return f"{blas.isas[0]}, threads: {threads}"
