"""Encodes one dense tensor as the tensors that a bundle stores for it. Writes no file."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.config import ModelConfig
from jangtq_bundle.metadata import PADDING_BIAS
from jangtq_bundle.vocabulary import AffineFormat, Layout, Part, Projection, single_name, stacked_name
from jangtq_kernels.quantization import quantize

Stored = Mapping[str, NDArray[np.generic]]
Scalar = TypeVar("Scalar", bound=np.generic)

_ROUTED = re.compile(
    r"model\.layers\.(\d+)\.block_sparse_moe\.switch_mlp\.(gate_proj|up_proj|down_proj)\.weight"
)
_GATE = ".block_sparse_moe.gate.weight"
_CORRECTION_BIAS = ".block_sparse_moe.e_score_correction_bias"
_VALUES_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class Encoder:
    """Quantizes matrices, rounds the rest to float16 and adds the padding experts."""

    config: ModelConfig
    layout: Layout

    def encode(self, name: str, tensor: NDArray[np.floating]) -> Stored:
        """The stored tensors of one dense tensor under mlx-lm's name."""
        routed = _ROUTED.fullmatch(name)
        if routed is not None:
            return dict(self._encode_experts(int(routed[1]), Projection(routed[2]), tensor))
        if name.endswith(_GATE):
            return {name: self._pad(tensor.astype(np.float16), 0.0)}
        if name.endswith(_CORRECTION_BIAS):
            return {name: self._pad(tensor.astype(np.float16), PADDING_BIAS)}
        if tensor.ndim == 1:
            return {name: tensor.astype(np.float16)}
        return _encode_affine(name.removesuffix(".weight"), tensor, affine=self.config.affine)

    def _encode_experts(
        self, layer: int, projection: Projection, weights: NDArray[np.floating]
    ) -> Iterator[tuple[str, NDArray[np.generic]]]:
        bits = np.array([self.config.bits.of(projection)], dtype=np.uint8)
        codes, norms = (self._pad(part, 0) for part in self._quantize(projection, weights))
        if self.layout is Layout.PRESTACKED:
            for part, stacked in ((Part.CODES, codes), (Part.NORMS, norms), (Part.BITS, bits)):
                yield stacked_name(layer, projection, part), stacked
            return
        for expert in range(self.config.expert_count):
            for part, single in ((Part.CODES, codes[expert]), (Part.NORMS, norms[expert]), (Part.BITS, bits)):
                yield single_name(layer, expert, projection=projection, part=part), single

    def _quantize(
        self, projection: Projection, weights: NDArray[np.floating]
    ) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
        """Codes [experts, out, words] and norms [experts, out], in slices that bound the memory taken."""
        experts_at_once = max(1, _VALUES_AT_ONCE // weights[0].size)
        parts = [
            quantize(
                weights[start : start + experts_at_once].astype(np.float32),
                bits=self.config.bits.of(projection),
                seed=self.config.seed,
            )
            for start in range(0, weights.shape[0], experts_at_once)
        ]
        return np.concatenate([codes for codes, _ in parts]), np.concatenate([norms for _, norms in parts])

    def _pad(self, stacked: NDArray[Scalar], value: float) -> NDArray[Scalar]:
        """Add padding experts along the first axis."""
        missing = self.config.expert_count - stacked.shape[0]
        padding = [(0, missing)] + [(0, 0)] * (stacked.ndim - 1)
        return np.pad(stacked, padding, constant_values=value)


def _encode_affine(base: str, weight: NDArray[np.floating], *, affine: AffineFormat) -> Stored:
    """MLX's own quantization, on the CPU so that every machine writes the same bytes."""
    import mlx.core as mx

    with mx.stream(mx.cpu):
        parts = mx.quantize(
            mx.array(weight.astype(np.float16)), group_size=affine.group_size, bits=affine.bits
        )
        codes, scales, biases = (np.array(part) for part in parts)
    return {f"{base}.weight": codes, f"{base}.scales": scales, f"{base}.biases": biases}
