"""The formats that are compared: what each makes of the same float weights, and how many bytes it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from jangtq_bundle.metadata import AFFINE_BITS
from jangtq_bundle.vocabulary import PROFILE_BITS, Projection, words_per_row
from jangtq_demo.model import DemoModel
from jangtq_demo.quantizers import RotatedCodebook, affine_round_trip

_GROUP: Final = 64
_HALF: Final = 2
_WORD: Final = 4


@dataclass(frozen=True)
class Format:
    """How tensors are stored: a JANGTQ profile or affine bits for the experts, affine bits for the rest.

    No `other_bits` means that nothing is quantized at all.
    """

    name: str
    profile: str | None = None
    expert_bits: int | None = None
    other_bits: int | None = None


FORMATS: Final[Mapping[str, Format]] = {
    found.name: found
    for found in (
        Format("float32"),
        Format("JANGTQ2", profile="JANGTQ2", other_bits=AFFINE_BITS),
        Format("JANGTQ_K", profile="JANGTQ_K", other_bits=AFFINE_BITS),
        Format("JANGTQ4", profile="JANGTQ4", other_bits=AFFINE_BITS),
        Format("affine2", expert_bits=2, other_bits=2),
        Format("affine3", expert_bits=3, other_bits=3),
        Format("affine4", expert_bits=4, other_bits=4),
        Format("affine2-experts", expert_bits=2, other_bits=AFFINE_BITS),
        Format("affine3-experts", expert_bits=3, other_bits=AFFINE_BITS),
        Format("affine4-experts", expert_bits=4, other_bits=AFFINE_BITS),
    )
}
"""`affineN` is MLX's uniform quantization at N bits; `affineN-experts` keeps JANGTQ's 8 bits elsewhere."""


@torch.no_grad()
def apply_format(model: DemoModel, chosen: Format) -> int:
    """Replace the model's weights by what the format keeps of them; returns the bytes that it stores."""
    return sum(_store(name, tensor, chosen) for name, tensor in model.state_dict().items())


def _store(name: str, tensor: Tensor, chosen: Format) -> int:
    """Round one tensor in place; the bytes of its stored form."""
    if chosen.other_bits is None:
        return tensor.numel() * tensor.element_size()
    if tensor.ndim == 3:
        return _store_experts(Projection(name.split(".")[-2]), tensor, chosen)
    if tensor.ndim == 2 and ".gate." in name:
        return _store_router(tensor, chosen)
    if tensor.ndim == 2:
        return _store_affine(tensor, chosen.other_bits)
    return _store_half(tensor)


def _store_experts(projection: Projection, tensor: Tensor, chosen: Format) -> int:
    if chosen.profile is None:
        assert chosen.expert_bits is not None
        return _store_affine(tensor, chosen.expert_bits)
    experts, rows, in_features = tensor.shape
    bits = PROFILE_BITS[chosen.profile].of(projection)
    quantizer = RotatedCodebook.make(in_features, bits=bits, device=tensor.device)
    tensor.copy_(quantizer.round_trip(tensor))
    return experts * rows * (words_per_row(in_features, bits) * _WORD + _HALF)


def _store_router(tensor: Tensor, chosen: Format) -> int:
    """JANGTQ keeps the router in float16; mlx-lm gives it 8 bits whatever the others get."""
    return _store_half(tensor) if chosen.profile is not None else _store_affine(tensor, AFFINE_BITS)


def _store_affine(tensor: Tensor, bits: int) -> int:
    tensor.copy_(affine_round_trip(tensor, bits=bits, group_size=_GROUP))
    return tensor.numel() * bits // 8 + tensor.numel() // _GROUP * 2 * _HALF


def _store_half(tensor: Tensor) -> int:
    tensor.copy_(tensor.half().float())
    return tensor.numel() * _HALF
