"""A bundle whose experts have hidden units beyond float16, like those of MiniMax-M2.7's last layer."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.writing.writer import write_bundle
from tests.support.small_bundles import dense_model
from tests.support.small_checkpoints import Sizes

WIDE_SIZES: Final = Sizes(
    32, hidden_size=128, intermediate_size=128, layer_count=1, head_count=2, key_value_head_count=1
)


def write_wide_bundle(path: Path, *, wide_sums: bool) -> Path:
    """Gate and up of every expert times 600; down is divided by as much again unless `wide_sums`."""
    factors = {"gate_proj": 600.0, "up_proj": 600.0, "down_proj": 1.0 if wide_sums else 600.0**-2}
    model = dense_model(WIDE_SIZES)
    tensors = {
        name: tensor.astype(np.float32) * next((f for part, f in factors.items() if part in name), 1.0)
        for name, tensor in model.tensors.items()
    }
    write_bundle(path, replace(model, tensors=tensors), WriteOptions("wide"))
    return path
