"""The Metal backend: a layer's whole forward as one chain of kernels and one `mx.eval`."""

from dataclasses import dataclass
from typing import cast

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import ExpertRows, PartialSums
from jangtq_kernels.checks import check_rows, check_weights, local_positions
from jangtq_kernels.errors import BackendMissingError, KernelInputError
from jangtq_kernels.grid import finest_exponents
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

    def forward(self, asked: ExpertRows) -> PartialSums:
        """As LoadedLayer.forward."""
        check_rows(asked, hidden_size=self._gate.in_features)
        plan = plan_pairs(local_positions(asked.expert_ids, self._positions), asked.router_weights)
        if plan.pairs == 0:
            nothing = np.zeros(len(asked.exponents), dtype=np.uint32)
            return PartialSums(np.zeros(asked.rows.shape, dtype=np.int32), finest_exponents(nothing))
        sums, magnitudes = self._chain(asked, plan)
        mx.eval(sums, magnitudes)
        return PartialSums(np.array(sums), finest_exponents(np.array(magnitudes).max(axis=1)))

    def _chain(self, asked: ExpertRows, plan: Plan) -> tuple[mx.array, mx.array]:
        routing = move_to_device(plan, asked.exponents)
        rotated = self._rotate(mx.array(asked.rows.astype(np.float32)), self._hidden_signs, self._gate)
        tiles = move_tiles_to_device(plan, choose_tile_rows(plan.rows_of_experts, prefill=asked.prefill))
        projected = (self._prefill if asked.prefill else self._decode)(rotated, routing, tiles)
        return self._kernels.combine(projected, routing)

    def _decode(self, rotated: mx.array, routing: Routing, tiles: Tiles) -> mx.array:
        activated = self._kernels.gate_up_decode(rotated, routing, gate=self._gate, up=self._up, tiles=tiles)
        return self._kernels.down_decode(self._rotate_activated(activated), routing, down=self._down)

    def _prefill(self, rotated: mx.array, routing: Routing, tiles: Tiles) -> mx.array:
        activated = self._kernels.gate_up_prefill(rotated, routing, gate=self._gate, up=self._up, tiles=tiles)
        again = self._rotate_activated(activated)
        return self._kernels.down_prefill(again, routing, down=self._down, tiles=tiles)

    def _rotate_activated(self, activated: mx.array) -> mx.array:
        return self._rotate(activated, self._intermediate_signs, self._down)

    def _rotate(self, rows: mx.array, signs: mx.array, reader: MetalMatrix) -> mx.array:
        return self._kernels.rotate(rows, signs, stride=reader.row_stride)


def choose_tile_rows(rows_of_experts: NDArray[np.intp], *, prefill: bool) -> int:
    """Rows that share one decoding of an expert's codes: 1, 2 or 4 in decode, 32 in prefill."""
    if prefill:
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
