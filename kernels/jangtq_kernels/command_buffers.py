"""How MLX hands kernels to a GPU. Knows no MLX, which reads this once, when it is imported."""

import os
from collections.abc import MutableMapping
from types import MappingProxyType
from typing import Final

DEFAULTS: Final = MappingProxyType(
    {
        # MLX ends a command buffer once its kernels' arrays are larger, and counts whole arrays of experts,
        # of which a call reads few: with its own limit, 50, each layer would become two or three in series.
        "MLX_MAX_MB_PER_BUFFER": "4096",
        # A layer is evaluated once, and a CUDA graph pays only when it runs again: on an H200 a layer of
        # MiniMax-M2.7's shape takes 0.47 ms without and 0.67 ms with graphs (benchmarks.layer_parts).
        "MLX_USE_CUDA_GRAPHS": "0",
    }
)


def suit_layers(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have each layer handed over at once, except where the user chose otherwise."""
    for name, value in DEFAULTS.items():
        environment.setdefault(name, value)
