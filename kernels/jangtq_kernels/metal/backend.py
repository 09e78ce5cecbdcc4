"""The Metal backend: a layer's whole forward as one chain of kernels and one `mx.eval`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import ExpertRows, KernelCall, PartialSums
from jangtq_kernels.checks import check_rows, check_weights, local_positions, position_table
from jangtq_kernels.errors import BackendMissingError, KernelInputError
from jangtq_kernels.grid import finest_exponents
from jangtq_kernels.metal._common import KernelFactory
from jangtq_kernels.metal.combine import Combine, read_answers
from jangtq_kernels.metal.down_decode import DownDecode
from jangtq_kernels.metal.down_prefill import DownPrefill
from jangtq_kernels.metal.gate_up_decode import GateUpDecode
from jangtq_kernels.metal.gate_up_prefill import GateUpPrefill
from jangtq_kernels.metal.layout import lay_out
from jangtq_kernels.metal.rotation import MAX_SIZE, Rotation, open_rotation
from jangtq_kernels.metal.routing import HEADER_WORDS, Routing, move_to_device
from jangtq_kernels.weights import ExpertWeights


@dataclass(frozen=True)
class _Kernels:
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
        self._factory = factory
        self._rotations: dict[tuple[int, int], Rotation] = {}
        self._kernels = _Kernels(
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
        layer = MetalLayer(self._kernels, self._rotation(weights), weights)
        mx.clear_cache()
        return layer

    def _rotation(self, weights: ExpertWeights) -> Rotation:
        sizes = weights.hidden_size, weights.intermediate_size
        if sizes not in self._rotations:
            self._rotations[sizes] = open_rotation(self._factory, sizes=sizes)
        return self._rotations[sizes]


class MetalLayer:
    """One layer's experts in device memory. Calls from several threads run one after the other."""

    def __init__(self, kernels: _Kernels, rotate: Rotation, weights: ExpertWeights) -> None:
        self._kernels = kernels
        self._rotate = rotate
        self._positions = position_table(weights.expert_ids)
        self._expert_count = len(weights.expert_ids)
        self._gate = lay_out("gate", weights.gate)
        self._up = lay_out("up", weights.up)
        self._down = lay_out("down", weights.down)
        self._hidden_signs = mx.array(weights.gate.signs)
        self._intermediate_signs = mx.array(weights.down.signs)
        mx.eval(self._hidden_signs, self._intermediate_signs)

    @property
    def nbytes(self) -> int:
        return self._gate.nbytes + self._up.nbytes + self._down.nbytes

    def forward(self, asked: ExpertRows) -> PartialSums:
        """As LoadedLayer.forward."""
        hidden = self._gate.in_features
        check_rows(asked, hidden_size=hidden)
        routing = move_to_device(asked, local_positions(asked.expert_ids, self._positions))
        if routing is None:
            nothing = np.zeros(len(asked.rows), dtype=np.uint32)
            return PartialSums(np.zeros(asked.rows.shape, dtype=np.int32), finest_exponents(nothing))
        *_, answers = self._chain(routing, prefill=asked.prefill)
        mx.eval(answers)
        sums, magnitudes = read_answers(answers, rows=routing.rows, features=hidden)
        return PartialSums(sums, finest_exponents(magnitudes))

    def stages(self, asked: ExpertRows) -> dict[str, NDArray[np.float32]]:
        """As of self_test.Staged."""
        chain = self._chain(self._route_held(asked), prefill=asked.prefill)
        mx.eval(*chain)
        sizes = self._gate.in_features, self._gate.out_features, self._down.out_features
        names = "rotate_rows", "gate_up", "down"
        return {name: np.array(chain[i])[:, : sizes[i]] for i, name in enumerate(names)}

    def kernel_calls(self, calls: Sequence[ExpertRows]) -> tuple[KernelCall, ...]:
        """As of KernelByKernel."""
        steps = [self._steps(call) for call in calls]
        share = len(np.unique(calls[0].expert_ids)) / self._expert_count
        weights = {"gate_up": self._gate.nbytes + self._up.nbytes, "down": self._down.nbytes}
        return tuple(
            KernelCall(name, int(weights.get(name, 0) * share), partial(_prepare, [of[name] for of in steps]))
            for name in steps[0]
        )

    def _steps(self, asked: ExpertRows) -> dict[str, Callable[[], mx.array]]:
        """Every kernel of a call, whose inputs are computed, in order."""
        routing, prefill = self._route_held(asked), asked.prefill
        rotated = self._rotate_rows(routing)
        activated = self._activate(rotated, routing, prefill=prefill)
        again = self._rotate_pairs(activated, routing)
        projected = self._project(again, routing, prefill=prefill)
        mx.eval(rotated, activated, again, projected)
        return {
            "rotate_rows": lambda: self._rotate_rows(routing),
            "gate_up": lambda: self._activate(rotated, routing, prefill=prefill),
            "rotate_pairs": lambda: self._rotate_pairs(activated, routing),
            "down": lambda: self._project(again, routing, prefill=prefill),
            "combine": lambda: self._kernels.combine(projected, routing),
        }

    def _route_held(self, asked: ExpertRows) -> Routing:
        routing = move_to_device(asked, local_positions(asked.expert_ids, self._positions))
        assert routing is not None, "it is asked for experts that are held"
        return routing

    def _chain(self, routing: Routing, *, prefill: bool) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        """Rotated rows, activated pairs, projected pairs, and the answers as of Combine."""
        rotated = self._rotate_rows(routing)
        activated = self._activate(rotated, routing, prefill=prefill)
        projected = self._project(self._rotate_pairs(activated, routing), routing, prefill=prefill)
        return rotated, activated, projected, self._kernels.combine(projected, routing)

    def _rotate_rows(self, routing: Routing) -> mx.array:
        return self._rotate(
            routing.words,
            self._hidden_signs,
            count=routing.rows,
            stride=self._gate.row_stride,
            start=HEADER_WORDS,
        )

    def _activate(self, rotated: mx.array, routing: Routing, *, prefill: bool) -> mx.array:
        kernel = self._kernels.gate_up_prefill if prefill else self._kernels.gate_up_decode
        return kernel(rotated, routing, gate=self._gate, up=self._up)

    def _rotate_pairs(self, activated: mx.array, routing: Routing) -> mx.array:
        return self._rotate(
            activated, self._intermediate_signs, count=routing.pairs, stride=self._down.row_stride
        )

    def _project(self, rotated: mx.array, routing: Routing, *, prefill: bool) -> mx.array:
        kernel = self._kernels.down_prefill if prefill else self._kernels.down_decode
        return kernel(rotated, routing, down=self._down)


def _prepare(steps: Sequence[Callable[[], mx.array]], times: int) -> Callable[[], None]:
    """As of KernelCall.prepare."""
    queued = [steps[turn % len(steps)]() for turn in range(times)]
    return lambda: mx.eval(queued)


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
