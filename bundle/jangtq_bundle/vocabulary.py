"""The words of the JANGTQ format: projections, layouts, profiles and bits. Knows no file."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from jangtq_kernels.packing import codes_per_word

WEIGHT_FORMAT: Final = "mxtq"
DEFAULT_SEED: Final = 42
ALLOWED_BITS: Final = (2, 3, 4)
ALLOWED_AFFINE_BITS: Final = (2, 3, 4, 5, 6, 8)
ALLOWED_GROUP_SIZES: Final = (32, 64, 128)
"""What MLX's affine products take."""


class Projection(StrEnum):
    """The three matrices of an expert; the values are their names in the prestacked layout."""

    GATE = "gate_proj"
    UP = "up_proj"
    DOWN = "down_proj"


class Layout(StrEnum):
    """How routed experts lie in the files; the values are those of `routed_expert_layout`."""

    PRESTACKED = "prestacked"
    ONE_BY_ONE = "per_expert"


class Part(StrEnum):
    """The tensors that one packed matrix consists of."""

    CODES = "tq_packed"
    NORMS = "tq_norms"
    BITS = "tq_bits"


ONE_BY_ONE_NAMES: Final[Mapping[Projection, str]] = {
    Projection.GATE: "w1",
    Projection.DOWN: "w2",
    Projection.UP: "w3",
}


@dataclass(frozen=True)
class ProjectionBits:
    """Bits of a code in each projection."""

    gate: int
    up: int
    down: int

    def of(self, projection: Projection) -> int:
        return {Projection.GATE: self.gate, Projection.UP: self.up, Projection.DOWN: self.down}[projection]

    @property
    def is_uniform(self) -> bool:
        return self.gate == self.up == self.down

    def __str__(self) -> str:
        return str(self.gate) if self.is_uniform else f"gate {self.gate}, up {self.up}, down {self.down}"


@dataclass(frozen=True)
class AffineFormat:
    """How MLX stores a matrix that is no routed expert: bits of a value, values that share a scale."""

    bits: int
    group_size: int


PROFILE_BITS: Final[Mapping[str, ProjectionBits]] = {
    "JANGTQ2": ProjectionBits(2, 2, 2),
    "JANGTQ3": ProjectionBits(3, 3, 3),
    "JANGTQ4": ProjectionBits(4, 4, 4),
    "JANGTQ_K": ProjectionBits(gate=2, up=2, down=4),
}

PROFILE_ALIASES: Final[Mapping[str, str]] = {
    "JANGTQ_2L": "JANGTQ2",
    "JANGTQ_2S": "JANGTQ2",
    "JANGTQ_3L": "JANGTQ3",
    "JANGTQ_3S": "JANGTQ3",
    "JANGTQ_4M": "JANGTQ4",
    "JANGTQ_4K": "JANGTQ4",
    "JANGTQK": "JANGTQ_K",
}
"""Names that older bundles carry, and the profile each one means."""


def profile_name(bits: ProjectionBits) -> str:
    """The profile that has these bits, or the bits themselves where none has."""
    return next((name for name, each in PROFILE_BITS.items() if each == bits), f"JANGTQ ({bits})")


def words_per_row(in_features: int, bits: int) -> int:
    """uint32 words that hold one row of codes; codes do not straddle words."""
    return -(-in_features // codes_per_word(bits))


def moe_prefix(layer: int) -> str:
    return f"model.layers.{layer}.block_sparse_moe"


def stacked_name(layer: int, projection: Projection, part: Part) -> str:
    """The tensor that holds one projection of all experts of a layer."""
    return f"{moe_prefix(layer)}.switch_mlp.{projection}.{part}"


def single_name(layer: int, expert: int, *, projection: Projection, part: Part) -> str:
    """The tensor that holds one projection of one expert, in the one-by-one layout."""
    return f"{moe_prefix(layer)}.experts.{expert}.{ONE_BY_ONE_NAMES[projection]}.{part}"
