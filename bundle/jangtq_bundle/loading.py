"""Experts from a bundle onto a device, a layer at a time. Knows who asks neither by name nor by wire."""

import ctypes
import sys
from collections.abc import Callable

from jangtq_bundle.bundle import Bundle
from jangtq_kernels.backend import Backend, LoadedLayer


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


def return_free_memory() -> None:
    """To the system: what a backend laid out anew or let go leaves a hole of its size, which glibc keeps."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
