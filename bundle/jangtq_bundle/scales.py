"""How loud a layer's experts answer, roughly, from the norms of a few of them. Reads no codes."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.config import ModelConfig
from jangtq_bundle.vocabulary import Projection

ReadNorms = Callable[[int, Projection, tuple[int, ...]], NDArray[np.float16]]
"""Norms float16 [experts, out] of a layer's projection."""

_EXPERTS_LOOKED_AT: Final = 8


def sampled_experts(config: ModelConfig) -> tuple[int, ...]:
    """Those that stand for all."""
    return tuple(range(0, config.expert_count, max(1, config.expert_count // _EXPERTS_LOOKED_AT)))


def layer_scales(config: ModelConfig, read_norms: ReadNorms) -> NDArray[np.float64]:
    """float64 [layers]: how large an expert's answer is for a row whose mean square is 1.

    Gate, up and down each multiply by their norms, since the codes of a row of weights make a unit vector;
    SwiGLU multiplies gate and up.
    """
    experts = sampled_experts(config)
    scales = np.ones(config.layer_count)
    for layer in range(config.layer_count):
        for projection in Projection:
            norms = read_norms(layer, projection, experts)
            scales[layer] *= np.sqrt(np.mean(np.square(norms, dtype=np.float64)))
    return scales
