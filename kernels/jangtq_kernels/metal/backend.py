"""The Metal backend: a layer's whole forward as one chain of kernels and one `mx.eval`."""

from dataclasses import dataclass
from typing import cast

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.checks import check_rows, check_weights, local_positions
from jangtq_kernels.errors import BackendMissingError, KernelInputError
from jangtq_kernels.metal._common import KernelFactory
from jangtq_kernels.metal._tile import TILE_ROWS
from jangtq_kernels.metal.combine import Combine
from jangtq_kernels.metal.down_decode import DownDecode
from jangtq_kernels.metal.down_prefill import DownPrefill
from jangtq_kernels.metal.gate_up_decode import MAX_ROWS, GateUpDecode
from jangtq_kernels.metal.gate_up_prefill import GateUpPrefill
from jangtq_kernels.metal.layout import MetalMatrix, lay_out
from jangtq_kernels.metal.rotation import MAX_SIZE, Rotation
from jangtq_kernels.metal.routing import (
    Plan,
    Routing,
    Tiles,
    move_tiles_to_device,
    move_to_device,
    plan_pairs,
)
from jangtq_kernels.weights import ExpertWeights

PREFILL_ROWS_PER_EXPERT = 5
"""From this mean on, tiles win: by METAL.md's counts, the three weights that gate, up and down hold at one
place cost 43 lane cycles in a tile of up to 8 rows, and 33 for 4 rows or 46 for 5 in the decode kernels."""


@dataclass(frozen=True)
class _Kernels:
    rotate: Rotation
    gate_up_decode: GateUpDecode
    down_decode: DownDecode
    gate_up_prefill: GateUpPrefill
    down_prefill: DownPrefill
    combine: Combine


class MetalBackend:
    """Experts on the GPU of an Apple-silicon machine.

    metal_kernel: takes the place of `mx.fast.metal_kernel` where there is no Metal.
    Raises BackendMissingError when neither exists.
    """

    def __init__(self, metal_kernel: KernelFactory | None = None) -> None:
        factory = metal_kernel or _native_factory()
        self._kernels = _Kernels(
            rotate=Rotation(factory),
            gate_up_decode=GateUpDecode(factory),
            down_decode=DownDecode(factory),
            gate_up_prefill=GateUpPrefill(factory),
            down_prefill=DownPrefill(factory),
            combine=Combine(factory),
        )

    @property
    def name(self) -> str:
        return "metal"

    def load(self, weights: ExpertWeights) -> "MetalLayer":
        """Copies the codes into the kernels' layout, projection by projection."""
        check_weights(weights)
        _require_one_rotation(weights)
        layer = MetalLayer(self._kernels, weights)
        mx.clear_cache()
        return layer


class MetalLayer:
    """One layer's experts in device memory. Call `forward` from one thread."""

    def __init__(self, kernels: _Kernels, weights: ExpertWeights) -> None:
        self._kernels = kernels
        self._positions = {expert: position for position, expert in enumerate(weights.expert_ids)}
        self._gate = lay_out("gate", weights.gate)
        self._up = lay_out("up", weights.up)
        self._down = lay_out("down", weights.down)
        self._hidden_signs = mx.array(weights.gate.signs)
        self._intermediate_signs = mx.array(weights.down.signs)

    @property
    def nbytes(self) -> int:
        return self._gate.nbytes + self._up.nbytes + self._down.nbytes

    def forward(
        self,
        rows: NDArray[np.generic],
        expert_ids: NDArray[np.int32],
        router_weights: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Weighted sum of the shard's experts for each row; see LoadedLayer.forward."""
        check_rows(rows, expert_ids, router_weights, hidden_size=self._gate.in_features)
        plan = plan_pairs(local_positions(expert_ids, self._positions), router_weights)
        if plan.pairs == 0:
            return np.zeros(rows.shape, dtype=np.float32)
        sums = self._chain(mx.array(rows.astype(np.float32)), plan)
        mx.eval(sums)
        return np.array(sums)

    def _chain(self, rows: mx.array, plan: Plan) -> mx.array:
        routing = move_to_device(plan)
        rotated = self._rotate(rows, self._hidden_signs, self._gate)
        tile_rows = choose_tile_rows(plan.rows_of_experts)
        tiles = move_tiles_to_device(plan, tile_rows)
        return (self._decode if tile_rows <= MAX_ROWS else self._prefill)(rotated, routing, tiles)

    def _decode(self, rotated: mx.array, routing: Routing, tiles: Tiles) -> mx.array:
        activated = self._kernels.gate_up_decode(rotated, routing, gate=self._gate, up=self._up, tiles=tiles)
        return self._kernels.down_decode(self._rotate_activated(activated), routing, down=self._down)

    def _prefill(self, rotated: mx.array, routing: Routing, tiles: Tiles) -> mx.array:
        activated = self._kernels.gate_up_prefill(rotated, routing, gate=self._gate, up=self._up, tiles=tiles)
        again = self._rotate_activated(activated)
        projected = self._kernels.down_prefill(again, routing, down=self._down, tiles=tiles)
        return self._kernels.combine(projected, routing)

    def _rotate_activated(self, activated: mx.array) -> mx.array:
        return self._rotate(activated, self._intermediate_signs, self._down)

    def _rotate(self, rows: mx.array, signs: mx.array, reader: MetalMatrix) -> mx.array:
        return self._kernels.rotate(rows, signs, stride=reader.row_stride)


def choose_tile_rows(rows_of_experts: NDArray[np.intp]) -> int:
    """Rows that share one decoding of an expert's codes: 1, 2 or 4 in decode, 32 in prefill."""
    if rows_of_experts.mean() >= PREFILL_ROWS_PER_EXPERT:
        return TILE_ROWS
    most = int(rows_of_experts.max())
    return min(1 << (most - 1).bit_length(), MAX_ROWS)


def _native_factory() -> KernelFactory:
    if not mx.metal.is_available():
        raise BackendMissingError("this machine has no Metal device, so the metal backend cannot run")
    # MLX types what the factory returns as `object`.
    return cast(KernelFactory, mx.fast.metal_kernel)


def _require_one_rotation(weights: ExpertWeights) -> None:
    gate, up = weights.gate, weights.up
    shared = gate.bits == up.bits and np.array_equal(gate.codebook, up.codebook)
    if not shared or not np.array_equal(gate.signs, up.signs):
        raise KernelInputError(
            f"gate ({gate.bits} bits) and up ({up.bits} bits) must share bits, codebook and signs on Metal"
        )
    for name, size in (
        ("hidden size", weights.hidden_size),
        ("intermediate size", weights.intermediate_size),
    ):
        if size > MAX_SIZE:
            raise KernelInputError(
                f"{name} {size} is above {MAX_SIZE}, the largest that the rotation kernel takes"
            )
