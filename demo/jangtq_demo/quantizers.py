"""The quantizers in PyTorch, to train through and to measure with; tests hold them to the kernels and MLX."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from jangtq_bundle.vocabulary import DEFAULT_SEED, PROFILE_BITS, Projection
from jangtq_demo.experts import ExpertMatrix
from jangtq_demo.model import DemoModel
from jangtq_kernels.codebook import compute_codebook
from jangtq_kernels.rotation import generate_signs, rotate

_LEAST_NORM: Final = 1e-10
_LEAST_SCALE: Final = 1e-7


@dataclass(frozen=True)
class RotatedCodebook:
    """JANGTQ for rows of one length: rotate, one norm a row, each coordinate to its nearest centroid."""

    rotation: Tensor
    codebook: Tensor
    midpoints: Tensor

    @classmethod
    def make(cls, in_features: int, *, bits: int, device: torch.device) -> "RotatedCodebook":
        signs = generate_signs(in_features, DEFAULT_SEED)
        rotation = rotate(np.eye(in_features, dtype=np.float32), signs)
        codebook = torch.tensor(compute_codebook(in_features, bits), device=device)
        return cls(torch.tensor(rotation, device=device), codebook, (codebook[:-1] + codebook[1:]) / 2)

    def round_trip(self, weight: Tensor) -> Tensor:
        """What the quantized weight stands for, float32 [..., out, in]."""
        with torch.autocast(weight.device.type, enabled=False):
            rotated = weight.float() @ self.rotation
            norms = rotated.norm(dim=-1, keepdim=True)
            codes = torch.bucketize(rotated / norms.clamp_min(_LEAST_NORM), self.midpoints)
            kept: Tensor = self.codebook[codes] * norms.half().float()
            return kept @ self.rotation.T

    def straight_through(self, weight: Tensor) -> Tensor:
        """The round trip, with the gradient of the identity (Bengio et al. 2013)."""
        with torch.no_grad():
            change = self.round_trip(weight) - weight
        return weight + change


def affine_round_trip(weight: Tensor, *, bits: int, group_size: int = 64) -> Tensor:
    """What MLX's affine quantization of a float16 matrix stands for, float32 of the same shape."""
    groups = weight.half().float().reshape(-1, group_size)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    steps = (1 << bits) - 1
    low_is_larger = low.abs() > high.abs()
    scale = ((high - low) / steps).clamp_min(_LEAST_SCALE)
    scale = torch.where(low_is_larger, scale, -scale)
    edge = torch.where(low_is_larger, low, high)
    zero = torch.round(edge / scale)
    scale = torch.where(zero != 0, edge / zero, scale)
    bias = torch.where(zero != 0, edge, torch.zeros_like(edge))
    codes = torch.round((groups - bias) / scale).clamp(0, steps)
    return (codes * scale.half().float() + bias.half().float()).reshape(weight.shape)


def put_in_loop(model: DemoModel, profile: str) -> None:
    """From now on the experts compute with quantized weights, and gradients pass straight through."""
    for projection, matrices in expert_matrices(model).items():
        for matrix in matrices:
            weight: Tensor = matrix.weight
            bits = PROFILE_BITS[profile].of(projection)
            quantizer = RotatedCodebook.make(weight.shape[-1], bits=bits, device=weight.device)
            matrix.filter = quantizer.straight_through


def take_out_of_loop(model: DemoModel) -> None:
    for matrices in expert_matrices(model).values():
        for matrix in matrices:
            matrix.filter = None


def expert_matrices(model: DemoModel) -> Mapping[Projection, list[ExpertMatrix]]:
    """The expert matrices of all layers by projection."""
    blocks = [block.switch_mlp for block in model.moe_blocks]
    return {
        Projection.GATE: [block.gate_proj for block in blocks],
        Projection.UP: [block.up_proj for block in blocks],
        Projection.DOWN: [block.down_proj for block in blocks],
    }
