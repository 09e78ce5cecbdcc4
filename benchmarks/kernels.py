"""The kernels of this machine beside its own limits and MLX's affine 2-bit, and every backend's error.

Run as `python -m benchmarks.kernels [--write]`. Each ratio comes from times taken in turn in one run, and
each time is the best of several, since other programs only ever make one longer.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np

from benchmarks.kernel_work import (
    EXPERTS,
    HIDDEN,
    INTERMEDIATE,
    TOP,
    WEIGHTS_OF_EXPERT,
    AffinePeer,
    Request,
    random_layer,
    random_request,
)
from benchmarks.machine_peaks import MachinePeaks
from benchmarks.results import benchmark_options, publish
from jangtq_kernels.backend import ACTIVATIONS, Backend
from jangtq_kernels.cpu import CpuBackend
from jangtq_kernels.cpu_library import native_library
from jangtq_kernels.reference import ReferenceBackend
from jangtq_kernels.weights import ExpertWeights

DECODE_BYTES = TOP * WEIGHTS_OF_EXPERT // 4
ROUNDS = 8
REPEATS = {1: 100, 16: 6, 512: 1}
"""Calls a round, for each number of rows."""
PEER_REPEATS = {1: 5, 16: 2}


@dataclass(frozen=True)
class Speed:
    """Best seconds of one batch size, and of what stands beside it."""

    activations: str
    rows: int
    threads: int
    seconds: float
    read_seconds: float
    fma_seconds: float
    affine_seconds: float | None

    def line(self) -> str:
        affine = "" if self.affine_seconds is None else f"{self.affine_seconds / self.seconds:.0f}"
        read = f"{self.read_seconds / self.seconds:.0%}" if self.rows == 1 else ""
        return (
            f"| {self.activations} | {self.rows} | {self.threads} | {self.seconds * 1e3:.2f} | {read} | "
            f"{affine} | {self.fma_seconds / self.seconds:.0%} |"
        )


def best_seconds(work: Callable[[Request], object], requests: list[Request]) -> float:
    """The shortest of one call for each request."""
    best = float("inf")
    for request in requests:
        started = time.perf_counter()
        work(request)
        best = min(best, time.perf_counter() - started)
    return best


def measure(
    threads: int, activations: str, weights: ExpertWeights, *, peaks: MachinePeaks, affine: dict[int, float]
) -> list[Speed]:
    """Every batch size on this many threads; kernel and limits take turns, to meet the same conditions."""
    layer = CpuBackend(threads, activations=activations).load(weights)
    speeds = []
    for rows, repeats in REPEATS.items():
        seconds = read = float("inf")
        fma = 0.0
        for turn in range(ROUNDS):
            requests = [random_request(rows, turn * repeats + index) for index in range(repeats)]
            seconds = min(seconds, best_seconds(layer.forward, requests))
            read = min(read, *(peaks.read_seconds(DECODE_BYTES, threads) for _ in range(10)))
            fma = max(fma, *(peaks.fma_per_second(threads) for _ in range(10)))
        fma_seconds = rows * TOP * WEIGHTS_OF_EXPERT / fma
        speeds.append(Speed(activations, rows, threads, seconds, read, fma_seconds, affine.get(rows)))
    return speeds


def measure_affine() -> dict[int, float]:
    """MLX's best for the batch sizes where it is compared; it uses the threads it likes."""
    peer = AffinePeer()
    return {
        rows: best_seconds(peer.forward, [random_request(rows, turn) for turn in range(repeats)])
        for rows, repeats in PEER_REPEATS.items()
    }


def report_speeds(speeds: list[Speed]) -> str:
    lines = [
        f"Hidden size {HIDDEN}, intermediate size {INTERMEDIATE}, "
        f"top {TOP} of {EXPERTS} experts, 2 bits; gather_qmm and FMA peak are float32.",
        "",
        "| activations | rows | threads | ms | of read bandwidth | "
        "times affine 2-bit gather_qmm | of FMA peak |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [speed.line() for speed in speeds])


def backends() -> dict[str, tuple[Backend, tuple[int, int]]]:
    """Every backend here with the hidden and intermediate size it is asked at."""
    found: dict[str, tuple[Backend, tuple[int, int]]] = {
        f"cpu {isa}": (CpuBackend(isa=isa), (HIDDEN, INTERMEDIATE)) for isa in native_library().isas
    }
    found["cpu, int8 activations"] = (CpuBackend(activations="int8"), (HIDDEN, INTERMEDIATE))
    # Metal runs natively or, where there is none, in the tests' simulator.
    from tests.support.metal_cases import metal_backend

    found["metal" if sys.platform == "darwin" else "metal, simulated"] = (metal_backend(), (768, 384))
    return found


def report_errors() -> str:
    lines = [
        "Norm of the difference to the float64 reference over its norm; 4 rows, worst of 2, 3 and 4 bits.",
        "",
        "| backend | size | float32 rows | float16 rows | bfloat16 rows |",
        "|---|---|---|---|---|",
    ]
    for name, (backend, size) in backends().items():
        errors = " | ".join(
            f"{max(relative_error(backend, size, bits, dtype) for bits in (2, 3, 4)):.1e}"
            for dtype in (np.float32, np.float16, ml_dtypes.bfloat16)
        )
        lines.append(f"| {name} | {size[0]} x {size[1]} | {errors} |")
    return "\n".join(lines)


def relative_error(backend: Backend, size: tuple[int, int], bits: int, dtype: type[np.generic]) -> float:
    """Of one random request whose rows are stored as `dtype`, against the reference on the same request."""
    weights = random_layer(2, hidden=size[0], intermediate=size[1], bits=bits)
    given = random_request(4, 0, hidden=size[0], experts=2)
    reference = ReferenceBackend().load(weights)
    request = replace(given, rows=given.rows.astype(dtype))
    # One above the finest, since another backend's largest answer may lie above a power of two.
    request = replace(request, exponents=reference.forward(request).finest + np.int8(1))
    expected, got = reference.forward(request).sums, backend.load(weights).forward(request).sums
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def run() -> list[Speed]:
    """All speeds: float32 and int8 activations, one and two threads, one weight set."""
    weights, peaks, affine = random_layer(EXPERTS), MachinePeaks(), measure_affine()
    speeds: list[Speed] = []
    for activations in ACTIVATIONS:
        for threads in (1, 2):
            speeds += measure(threads, activations, weights, peaks=peaks, affine=affine)
    return speeds


def main() -> None:
    """Print both tables, and keep them with --write."""
    given = benchmark_options(__doc__).parse_args()
    body = f"{report_speeds(run())}\n\n{report_errors()}"
    publish("Kernels", "python -m benchmarks.kernels", body, write=given.write)


if __name__ == "__main__":
    main()
