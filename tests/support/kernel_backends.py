"""Every backend that this machine can run, GPUs through simulators if need be, and a dense oracle."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from jangtq_kernels.backend import NO_EXPERT, PREFILL_ROWS_PER_EXPERT, Backend, LoadedLayer
from jangtq_kernels.cpu import CpuBackend
from jangtq_kernels.cpu_library import native_library
from jangtq_kernels.cuda.backend import CudaBackend
from jangtq_kernels.errors import BackendMissingError
from jangtq_kernels.quantization import dequantize
from jangtq_kernels.reference import ReferenceBackend, silu
from jangtq_kernels.weights import ExpertWeights
from tests.support.cuda_simulator import simulated_toolkit
from tests.support.metal_cases import metal_backend


@dataclass(frozen=True)
class Asked:
    """ExpertRows, to be made as a test wants them."""

    rows: NDArray[np.generic]
    expert_ids: NDArray[np.int32]
    router_weights: NDArray[np.float32]
    exponents: NDArray[np.int8]
    prefill: bool = False


Request = tuple[NDArray[np.generic], NDArray[np.int32], NDArray[np.float32]]

ISAS = native_library().isas
CPU_NAMES = tuple(f"cpu-{isa}" for isa in ISAS)
INT8_NAMES = tuple(f"cpu_int8-{isa}" for isa in ISAS)
FAST_NAMES = ("reference", *CPU_NAMES, *INT8_NAMES)
NAMES = (*FAST_NAMES, "metal", "cuda")
"""The simulators of GPUs take seconds where the others take milliseconds: FAST_NAMES leave them out."""
USUAL_EXPONENT = -18


@cache
def backend(name: str) -> Backend:
    """The backend of that name in NAMES; those of CPU_NAMES and INT8_NAMES compute with two threads."""
    makers: dict[str, Callable[[], Backend]] = {
        "reference": ReferenceBackend,
        "metal": metal_backend,
        "cuda": cuda_backend,
    }
    if name in makers:
        return makers[name]()
    device, isa = name.split("-")
    return CpuBackend(2, isa=isa, activations="int8" if device == "cpu_int8" else "float32")


def cuda_backend() -> CudaBackend:
    """Of this machine's GPU, or of the simulator where it has none."""
    try:
        return CudaBackend()
    except BackendMissingError:
        return CudaBackend(simulated_toolkit())


def sums_of(
    layer: LoadedLayer,
    rows: NDArray[np.generic],
    expert_ids: NDArray[np.int32],
    router_weights: NDArray[np.float32],
    *,
    prefill: bool | None = None,
) -> NDArray[np.float32]:
    """What a whole layer's partial sums are worth, on grids that lose nothing to speak of.

    prefill: by the number of rows an expert where it is None.
    """
    if prefill is None:
        used = expert_ids[expert_ids != NO_EXPERT]
        prefill = used.size >= PREFILL_ROWS_PER_EXPERT * max(len(np.unique(used)), 1)
    exponents = np.full(len(rows), USUAL_EXPONENT, dtype=np.int8)
    found = layer.forward(Asked(rows, expert_ids, router_weights, exponents, prefill))
    misfits = (exponents < found.finest) | (exponents > found.finest + np.int16(6))
    if misfits.any():
        exponents[misfits] = found.finest[misfits]
        again = layer.forward(Asked(rows, expert_ids, router_weights, exponents, prefill))
        np.testing.assert_array_equal(again.finest, found.finest)
        found = again
    return np.ldexp(found.sums, exponents[:, None].astype(np.int32)).astype(np.float32)


def largest_error(name: str) -> float:
    """What a backend may be off: rounding in float32, or to the 127 steps of int8."""
    return 3e-2 if name in INT8_NAMES else 1e-5


def dense_forward(weights: ExpertWeights, request: Request) -> NDArray[np.float64]:
    """The same sums from plain dense matrices in the original coordinates, without any rotation of rows."""
    rows, expert_ids, router_weights = request
    sums = np.zeros(rows.shape)
    gate, up, down = (dequantize(matrix) for matrix in (weights.gate, weights.up, weights.down))
    for position, expert in enumerate(weights.expert_ids):
        row, slot = np.nonzero((expert_ids == expert) & (expert_ids != NO_EXPERT))
        x = rows[row].astype(np.float64)
        activated = silu(x @ gate[position].T) * (x @ up[position].T)
        weighted = router_weights[row, slot].astype(np.float64)[:, None] * (activated @ down[position].T)
        np.add.at(sums, row, weighted)
    return sums


def relative_error(got: NDArray[np.float32], expected: NDArray[np.float64]) -> float:
    """Norm of the difference over the norm expected."""
    return float(np.linalg.norm(got - expected) / max(float(np.linalg.norm(expected)), 1e-30))
