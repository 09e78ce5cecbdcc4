"""Hands dense layers to whoever computes them: to the native library on CPUs, to MLX elsewhere."""

import logging
from typing import Final

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from jangtq_coordinator.metrics.dense_report import DenseReport
from jangtq_coordinator.mlx_lm import minimax
from jangtq_coordinator.model.dense_config import DenseProducts, DenseSettings
from jangtq_coordinator.model.mlx_products import fast_products
from jangtq_coordinator.model.native_attention import NativeAttention
from jangtq_coordinator.model.native_layers import NativeEmbedding, NativeLayer, NativeLinear, is_computable
from jangtq_kernels.dense.kernels import DenseKernels
from jangtq_kernels.errors import BackendMissingError

_MIB: Final = 2**20
_log = logging.getLogger("jangtq.dense")


def prepare_dense(model: nn.Module, settings: DenseSettings, dtype: mx.Dtype) -> DenseReport:
    """Replace what the native library computes, matrix by matrix, and say in the log who computes.

    `dtype` is what the model computes in; only float32 is computed natively. Weights not read yet are read
    here, so that no more than one matrix is in memory twice.
    """
    kernels = _open_kernels(settings, dtype)
    if kernels is None:
        if dtype == mx.float32:
            fast_products()
        report = DenseReport(nbytes=_quantized_bytes(model))
    else:
        nbytes = _replace_layers(model, kernels)
        _replace_attention(model, kernels)
        report = DenseReport(f"{kernels.isa}, threads: {kernels.threads}", nbytes)
    _log.info("dense layers: %.0f MiB, computed by %s", report.nbytes / _MIB, report.products)
    return report


def _open_kernels(settings: DenseSettings, dtype: mx.Dtype) -> DenseKernels | None:
    if settings.products is DenseProducts.MLX or dtype != mx.float32:
        return None
    if mx.default_device() != mx.Device(mx.cpu):
        return None
    try:
        return DenseKernels(settings.threads)
    except BackendMissingError as error:
        _log.warning("dense layers will be slow: %s", error)
        return None


def _replace_layers(model: nn.Module, kernels: DenseKernels) -> int:
    """The bytes of what was replaced."""
    nbytes = 0
    for name, layer in [(name, each) for name, each in model.named_modules() if is_computable(each)]:
        embeds = isinstance(layer, nn.Embedding | nn.QuantizedEmbedding)
        native: NativeLayer = NativeEmbedding(kernels, layer) if embeds else NativeLinear(kernels, layer)
        model.update_modules(tree_unflatten([(name, native)]))
        nbytes += native.nbytes
    return nbytes


def _replace_attention(model: nn.Module, kernels: DenseKernels) -> None:
    found = [
        (name, each) for name, each in model.named_modules() if isinstance(each, minimax.MiniMaxAttention)
    ]
    for name, attention in found:
        model.update_modules(tree_unflatten([(name, NativeAttention(kernels, attention))]))


def _quantized_bytes(model: nn.Module) -> int:
    layers = [each for each in model.modules() if isinstance(each, nn.QuantizedLinear)]
    parts = [part for each in layers for part in (each.weight, each.scales, each.biases)]
    return sum(part.nbytes for part in parts if part is not None)
