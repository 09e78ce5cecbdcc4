"""Loads experts from a bundle onto a device, one layer at a time. Knows no cluster and no transport."""

import ctypes
import sys
from collections.abc import Callable, Sequence

from jangtq_bundle.bundle import Bundle
from jangtq_kernels.backend import Backend, LoadedLayer
from jangtq_kernels.reference import ReferenceLayer
from jangtq_kernels.self_test import check_layer


def load_layers(
    bundle: Bundle,
    backend: Backend,
    experts: tuple[int, ...],
    *,
    on_layer: Callable[[int], None] = lambda done: None,
) -> tuple[LoadedLayer, ...]:
    """These experts of every layer; `on_layer` hears how many layers are there. Raises BundleError."""
    layers: list[LoadedLayer] = []
    for layer in range(bundle.config.layer_count):
        layers.append(backend.load(bundle.read_experts(layer, experts)))
        return_free_memory()
        on_layer(layer + 1)
    return tuple(layers)


def check_kernels(bundle: Bundle, experts: tuple[int, ...], layers: Sequence[LoadedLayer]) -> str:
    """Ask the first layer for its first expert and its last, and compare with the reference; says what came.

    It takes milliseconds with small experts and less than a second with those of MiniMax-M2.7. Raises
    KernelFaultError where the kernels compute wrong on this machine.
    """
    if not experts or not layers or isinstance(layers[0], ReferenceLayer):
        return "self-test skipped: there are no kernels to compare with the reference"
    weights = bundle.read_experts(0, tuple(dict.fromkeys((experts[0], experts[-1]))))
    passed = check_layer(layers[0], weights)
    return str(passed) if passed else "self-test skipped: these weights' answers are not finite"


def return_free_memory() -> None:
    """To the system: what a backend laid out anew or let go leaves a hole of its size, which glibc keeps."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
